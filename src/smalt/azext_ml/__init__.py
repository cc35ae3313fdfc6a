"""The commands of `ml`: an extension of Microsoft's `az`, and the same commands as `smalt ml`.

`azext_ml` is the name that `az` wants for the package of an extension. It imports nothing else of Smalt: the wheel that
`az` installs holds this folder alone. `table.py` says what a command is, `groups/` has them all, `shapes/` prints the
server's documents as the SDK would, `sdk.py` is where the SDK is imported. `az.py` and `terminal.py` are the two
command lines.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """COMMAND_LOADER_CLS: what `az` looks for. There is no azure.cli under the other command line."""
    if name == "COMMAND_LOADER_CLS":
        from .az import MLCommandsLoader

        return MLCommandsLoader
    raise AttributeError(name)
