"""What keeps jobs from the platform and from each other here: the level that the engine comes to, by trying."""

from __future__ import annotations

from dataclasses import replace

from smalt.doctor.finding import Finding, no, ok, warn
from smalt.doctor.machine import Machine
from smalt.engines.local.isolation import Walling

_EVERYTHING = "what jobs run can read every key of this platform"


def level(machine: Machine) -> Finding:
    with machine.scratch() as folder:
        found = Walling(replace(machine.settings, root=folder)).isolation()
    asked = machine.settings.isolation
    if found.level == "off":
        return warn("off, as asked", _EVERYTHING, machine.smalt("up --isolation auto"))
    if found.level == "none":
        means = f"{_EVERYTHING}, so that only the owner's run"
        return no(found.reason.rstrip("."), means, machine.smalt("up --isolation auto"))
    if found.level == "files":
        means = "jobs see other processes, and can connect to the platform's sockets"
        remedy = machine.smalt("up --isolation auto") if asked == "files" else "allow what is refused below"
        return warn(f"files: {found.reason.rstrip('.')}", means, remedy)
    return ok(
        f"{found.level}: jobs have files, processes{', a network' if found.level == 'network' else ''} of their own"
    )
