"""What this machine has to give, seen from inside whatever container or group the server runs in."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from smalt.arm.ports import Capacity

_CGROUPS = Path("/sys/fs/cgroup")


def machine_capacity() -> Capacity:
    """Processors this process may use, memory it may have, NVIDIA devices it sees."""
    return Capacity(_cpus(), _memory_bytes(), _gpus())


def _cpus() -> int:
    available = len(os.sched_getaffinity(0))
    for folder in _groups("cpu"):
        quota, period = _quota(folder)
        if quota > 0 and period > 0:
            available = min(available, math.ceil(quota / period))
    return max(1, available)


def _quota(folder: Path) -> tuple[int, int]:
    words = _read(folder / "cpu.max").split()
    if len(words) == 2:
        return (0 if words[0] == "max" else int(words[0])), int(words[1])
    return int(_read(folder / "cpu.cfs_quota_us") or 0), int(_read(folder / "cpu.cfs_period_us") or 0)


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit():
                total = min(total, int(text))
    return total


def _gpus() -> int:
    """https://docs.nvidia.com: one device node for each GPU; nvidiactl and the like are not GPUs."""
    return sum(1 for one in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", one.name))


def _groups(controller: str) -> list[Path]:
    """This process's group of `controller` and all above it, as far as they can be seen from here."""
    unified = (_CGROUPS / "cgroup.controllers").exists()
    base = _CGROUPS if unified else _CGROUPS / controller
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" if unified else controller in controllers.split(","):
            own = base / path.lstrip("/")
            return [one for one in (own, *own.parents) if one.is_relative_to(base)]
    return [base]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
