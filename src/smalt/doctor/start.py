"""What `smalt up` says of the machine: what its jobs lack there. Found in milliseconds; no program is started."""

from __future__ import annotations

import contextlib

from smalt.doctor import isolation, limits, storage
from smalt.doctor.finding import State
from smalt.doctor.machine import Machine

_ASKED = {
    "mount namespaces": isolation.mount_namespaces,
    "cgroups": limits.cgroups,
    "disk": storage.disk,
}


def notes(machine: Machine) -> list[str]:
    """A line for each that is not as it could be. Only while this process has one thread."""
    lines: list[str] = []
    for name, look in _ASKED.items():
        with contextlib.suppress(OSError):  # no reason not to start
            found = look(machine)
            if found.state is not State.OK:
                lines.append(f"{name}: {found.fact}; {found.means}.")
    return lines
