"""The program `smalt`, also `python -m smalt.cli`: commands are imported once the interpreter is as it should be."""

from __future__ import annotations

import sys
from importlib import import_module

from smalt.cli.shell import ignore_python_variables


def main() -> None:
    ignore_python_variables()
    if sys.argv[1:2] == ["ml"]:  # which has a command line of its own, and is to be quick
        sys.exit(import_module("smalt.cli.commands.ml").main(sys.argv[2:]))
    import_module("smalt.cli.main").app(prog_name="smalt")


if __name__ == "__main__":
    main()
