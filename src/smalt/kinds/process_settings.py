"""What a process may be given, and whose may run: environment variables and arguments, shared memory, isolation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smalt.arm.errors import ArmError, invalid
from smalt.arm.platform import Platform
from smalt.arm.ports import IN_TABLE, Principal

_MOST_BYTES = 128 * 1024 - 2  # of one NAME=VALUE: Linux has MAX_ARG_STRLEN for it, with '=' and the NUL at its end

_SHM = re.compile(r"([1-9][0-9]{0,11})([bkmg])", re.IGNORECASE)
_SHM_DEFAULT = "2g"  # Azure's


def check_isolation(platform: Platform, principal: Principal) -> None:
    """Raises ArmError(403): where nothing keeps a process from the platform's keys, only the owner's may run."""
    if principal.kind not in IN_TABLE:
        return
    isolation = platform.engine.isolation()
    if isolation.level == "none":
        raise ArmError(
            403,
            "NoIsolation",
            f"{principal.name} may run nothing here, only the platform's owner: {isolation.reason} Whatever runs could"
            " read every key of the platform. Let the machine isolate (smalt doctor says how), or accept the danger:"
            " smalt up --isolation off.",
        )


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


def shm_bytes(given: str | None, field: str) -> int:
    """How large `/dev/shm` is to be. Raises ArmError(400) for what is no size as Azure takes it."""
    found = _SHM.fullmatch(given or _SHM_DEFAULT)
    if found is None:
        raise invalid(f"{field}: '{given}' is no size such as 2g: a whole number above 0 with b, k, m or g.", field)
    return int(found[1]) << 10 * "bkmg".index(found[2].lower())
