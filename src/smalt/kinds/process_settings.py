"""What the operating system takes for a process: environment variables and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.arm.errors import invalid

_MOST_BYTES = 128 * 1024 - 2  # of one NAME=VALUE: Linux has MAX_ARG_STRLEN for it, with '=' and the NUL at its end


def check_variables(given: Mapping[str, Any] | None, field: str) -> None:
    """Raises ArmError(400) for a variable that no process can have. Those with the value null are not set."""
    for name, value in (given or {}).items():
        path = f"{field}.{name[:80]}"
        if not name or "=" in name or "\0" in name:
            raise invalid(
                f"{field}: {name[:80]!r} cannot name an environment variable: it must not be empty,"
                " nor contain '=' or NUL.",
                field,
            )
        if value is None:
            continue
        no_nul(str(value), path)
        if len(name.encode()) + len(str(value).encode()) > _MOST_BYTES:
            raise invalid(
                f"{path}: the value is too long: name and value may have {_MOST_BYTES} bytes together;"
                " give a file as input instead.",
                path,
            )


def no_nul(text: str, field: str) -> None:
    """Raises ArmError(400): a NUL would end the text for the operating system."""
    if "\0" in text:
        raise invalid(f"{field}: a NUL character cannot be passed to a process.", field)
