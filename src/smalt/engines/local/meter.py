"""What the tasks of this machine use: processors and memory as the kernel counts them, GPUs as their driver does."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """Of one process: GPU memory, and the use of the GPUs that it is on (1: one, all the time)."""

    memory_bytes: int
    share: float


class Meter:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._has_gpus = machine_capacity().gpus > 0 and shutil.which(_SMI) is not None

    def read(self) -> Sequence[Usage]:
        if not self._settings.tasks.is_dir() or not Folders(self._settings.tasks).all():
            return []  # no look at all processes for nothing
        gpus = gpu_uses() if self._has_gpus else {}
        return [_usage(task, gpus) for task in running_tasks(self._settings)]


def _usage(task: RunningTask, gpus: Mapping[int, GpuUse]) -> Usage:
    on_gpus = [gpus[pid] for pid in task.pids if pid in gpus]
    return Usage(
        task=task.name,
        owner=task.owner,
        cpu_s=sum(map(_cpu_s, task.pids)),
        memory_bytes=task.rss_bytes,
        gpus=sum(one.share for one in on_gpus),
        gpu_memory_bytes=sum(one.memory_bytes for one in on_gpus),
    )


def _cpu_s(pid: int) -> float:
    """Its own and that of its children which have ended."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return used.user + used.system + used.children_user + used.children_system


def gpu_uses() -> dict[int, GpuUse]:
    """By process. A GPU's time is shared out by the memory that its processes have there: the driver counts no more."""
    shares = {uuid: float(share) / 100 for uuid, share in _ask("gpu", "uuid,utilization.gpu")}
    rows = [(int(pid), uuid, int(size) * MIB) for pid, uuid, size in _ask("compute-apps", "pid,gpu_uuid,used_memory")]
    totals = {uuid: sum(size for _, one, size in rows if one == uuid) for uuid in shares}
    found: dict[int, GpuUse] = {}
    for pid, uuid, size in rows:
        before = found.get(pid, GpuUse(0, 0.0))
        part = size / totals[uuid] if totals.get(uuid) else 0.0
        found[pid] = GpuUse(before.memory_bytes + size, before.share + shares.get(uuid, 0.0) * part)
    return found


def _ask(what: str, fields: str) -> list[list[str]]:
    """nvidia-smi's table of `what`. Lines with a value that the driver does not give (`[N/A]`) are left out."""
    command = [_SMI, f"--query-{what}={fields}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s does not answer: %s", _SMI, error)
        return []
    rows = [[value.strip() for value in line.split(",")] for line in said.splitlines()]
    return [row for row in rows if len(row) == len(fields.split(",")) and "[N/A]" not in row]
