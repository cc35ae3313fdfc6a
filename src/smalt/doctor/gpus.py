"""NVIDIA's GPUs: what Smalt gives to jobs are the device nodes, by their index."""

from __future__ import annotations

import re

from smalt.doctor.finding import Finding, none, ok, warn
from smalt.doctor.machine import Machine

_MEANS = "jobs that ask for GPUs are refused"


def gpus(machine: Machine) -> Finding:
    devices = [one for one in (machine.base / "dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", one.name)]
    driver = _driver(machine)
    if not devices and not driver:
        return none("none", _MEANS)
    if not devices:
        remedy = "nvidia-modprobe -c 0, or in a container: docker run --gpus all …"
        return warn(f"driver {driver}, but no device", _MEANS, remedy)
    if not driver:
        means = "jobs get them by index, and their use cannot be measured"
        return warn(f"{len(devices)}, and no driver answers", means, "nvidia-smi")
    program = machine.which("nvidia-smi")
    works, name = machine.ask([program, "--query-gpu=name", "--format=csv,noheader"]) if program else (True, "")
    if not works:
        return warn(f"{len(devices)}, driver {driver}; nvidia-smi: {name}", "jobs with GPUs may fail", "nvidia-smi")
    return ok(f"{len(devices)}{' × ' + name if name else ''}, driver {driver}")


def _driver(machine: Machine) -> str:
    """The version of the kernel's module; empty where there is none."""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", machine.read("proc/driver/nvidia/version"))
    return found[1] if found else ""
