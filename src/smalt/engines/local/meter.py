"""What the tasks of this machine use: processors and memory as the kernel counts them, GPUs as their driver does."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from smalt.arm.ports import Usage
from smalt.engines.local.capacity import machine_capacity
from smalt.engines.local.folders import Folders
from smalt.engines.local.survey import RunningTask, running_tasks
from smalt.settings import Settings

_SMI = "nvidia-smi"
_SMI_TIMEOUT_S = 5.0
MIB = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuUse:
    """Of one process: GPU memory, the use of the GPUs that it is on (1: one, all the time), its part of what they draw.

    `of`: the memory in bytes of each of those GPUs.
    """

    memory_bytes: int = 0
    share: float = 0.0
    watts: float = 0.0
    of: Mapping[str, int] = field(default_factory=dict[str, int])


class Meter:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._has_gpus = machine_capacity().gpus > 0 and shutil.which(_SMI) is not None

    def read(self) -> Sequence[Usage]:
        if not self._settings.tasks.is_dir() or not Folders(self._settings.tasks).all():
            return []  # no look at all processes for nothing
        gpus = gpu_uses() if self._has_gpus else {}
        disk, percent = _disk(self._settings.tasks)
        return [_usage(task, gpus, disk, percent) for task in running_tasks(self._settings)]


def _usage(task: RunningTask, gpus: Mapping[int, GpuUse], disk: str, disk_percent: float) -> Usage:
    on_gpus = [gpus[pid] for pid in task.pids if pid in gpus]
    of = {uuid: size for one in on_gpus for uuid, size in one.of.items()}
    return Usage(
        task=task.name,
        owner=task.owner,
        cpu_s=sum(map(_cpu_s, task.pids)),
        memory_bytes=task.rss_bytes,
        gpus=sum(one.share for one in on_gpus),
        gpu_memory_bytes=sum(one.memory_bytes for one in on_gpus),
        gpu_memory_total_bytes=sum(of.values()),
        gpu_watts=sum(one.watts for one in on_gpus),
        disk=disk,
        disk_percent=disk_percent,
    )


def _disk(folder: Path) -> tuple[str, float]:
    """Where the file system with `folder` is mounted, and how full it is (0–100), as `df` says."""
    found = os.statvfs(folder)
    used, free = found.f_blocks - found.f_bfree, found.f_bavail
    mounted = next((one for one in (folder, *folder.parents) if one.is_mount()), folder)
    return str(mounted), 100 * used / (used + free) if used + free else 0.0


def _cpu_s(pid: int) -> float:
    """Its own and that of its children which have ended."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return used.user + used.system + used.children_user + used.children_system


def gpu_uses() -> dict[int, GpuUse]:
    """By process. A GPU's time and power are shared out by the memory that its processes have there: the driver counts
    no more."""
    said = _ask("gpu", "uuid,utilization.gpu,memory.total,power.draw")
    gpus = {uuid: tuple(map(_number, values)) for uuid, *values in said}
    rows = [
        (int(pid), uuid, int(size) * MIB)
        for pid, uuid, size in _ask("compute-apps", "pid,gpu_uuid,used_memory")
        if size.isdecimal()
    ]
    totals = {uuid: sum(size for _, one, size in rows if one == uuid) for uuid in gpus}
    found: dict[int, GpuUse] = {}
    for pid, uuid, size in rows:
        before = found.get(pid, GpuUse())
        part = size / totals[uuid] if totals.get(uuid) else 0.0
        percent, memory, watts = gpus.get(uuid, (0.0, 0.0, 0.0))
        found[pid] = GpuUse(
            before.memory_bytes + size,
            before.share + percent / 100 * part,
            before.watts + watts * part,
            {**before.of, uuid: int(memory) * MIB},
        )
    return found


def _number(said: str) -> float:
    """0 for what the driver does not give (`[N/A]`)."""
    try:
        return float(said)
    except ValueError:
        return 0.0


def _ask(what: str, fields: str) -> list[list[str]]:
    """nvidia-smi's table of `what`."""
    command = [_SMI, f"--query-{what}={fields}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s does not answer: %s", _SMI, error)
        return []
    rows = [[value.strip() for value in line.split(",")] for line in said.splitlines()]
    return [row for row in rows if len(row) == len(fields.split(","))]
