"""A task's share of the machine through cgroups, version 2 or 1, whichever this machine lets us write.

Nothing is needed of the machine: what cannot be had here the system log names, and the agent sees to the memory
itself (`memory.py`). What is limited: memory and CPU by the node's size, and the number of processes and threads of
every task.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from smalt.agent.processes import send
from smalt.agent.wire import Limits

CGROUPS_FILE = "cgroups"  # in the task's folder: one path a line
_ROOT = Path("/sys/fs/cgroup")
_NAME = "smalt-"  # and the mark of the task


class Cgroups:
    """The control groups of one task, by folder; empty where there are none."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    @property
    def entrances(self) -> list[str]:
        """The files a process writes `0` into to be inside."""
        return [str(one / "cgroup.procs") for one in self.folders]

    @property
    def bound_memory(self) -> bool:
        return self._have("memory.max") or self._have("memory.limit_in_bytes")

    @property
    def bound_processes(self) -> bool:
        return self._have("pids.max")

    def memory_kills(self) -> int:
        """How many processes of the task the kernel killed for lack of memory."""
        total = 0
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                for line in _read(folder / name).splitlines():
                    if line.startswith("oom_kill "):
                        total += int(line.split()[1])
        return total

    def refused_processes(self) -> int:
        """How many times the kernel gave the task no further process or thread."""
        lines = [line for folder in self.folders for line in _read(folder / "pids.events").splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("max "))

    def kill(self) -> None:
        """Kill everything inside, for tasks that lost their agent."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
            for pid in _read(folder / "cgroup.procs").split():
                send(int(pid), signal.SIGKILL)

    def remove(self) -> bool:
        """Once all processes have ended; whether all are gone.

        The kernel may hold one for a while after the last process (EBUSY): it is tried again
        when the task's folder goes.
        """
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.folders)

    def _have(self, name: str) -> bool:
        return any((folder / name).exists() for folder in self.folders)


def recorded(folder: Path) -> Cgroups:
    """Those of the task in `folder`, as its agent wrote them down."""
    found = [Path(line) for line in _read(folder / CGROUPS_FILE).splitlines()]
    return Cgroups([one for one in found if one.name.startswith(_NAME)])  # cut short it would be a group above


def make_cgroups(limits: Limits, processes: int, mark: str) -> tuple[Cgroups, str]:
    """Groups with these limits, and what could not be had, in words (empty: all of it).

    The number of processes has no other means in the open: RLIMIT_NPROC counts all of the user's, other tasks' and the
    platform's too. Behind walls with a user of its own it is set (`rlimits.py`).
    """
    if (_ROOT / "cgroup.controllers").exists():
        return _version_2(limits, processes, _NAME + mark)
    return _version_1(limits, processes, _NAME + mark)


def stir() -> None:
    """Moves this process into the group where it is.

    The kernel makes whoever moves a process wait for all processors, 5 to 16 ms, and those who move another within the
    next 10 ms for nothing. So the warden does it once while the agent prepares.
    """
    with contextlib.suppress(OSError):  # also where the kernel has no groups
        version_2 = (_ROOT / "cgroup.controllers").exists()
        own = _ROOT / _paths().get("", "/").lstrip("/") if version_2 else _own("pids")
        (own / "cgroup.procs").write_text("0")


def _version_2(limits: Limits, processes: int, name: str) -> tuple[Cgroups, str]:
    """In the agent's own group or the nearest above that hands controllers down; processes bar that in most of them."""
    own = _ROOT / _paths().get("", "/").lstrip("/")
    for base in (own, *own.parents):
        if not base.is_relative_to(_ROOT):
            break
        for controllers in ("+memory +cpu", "+pids"):
            with contextlib.suppress(OSError):
                (base / "cgroup.subtree_control").write_text(controllers)
        group = base / name
        try:
            group.mkdir(exist_ok=True)
            (group / "pids.max").write_text(str(processes))
            if limits.memory_bytes:
                (group / "memory.max").write_text(str(limits.memory_bytes))
                with contextlib.suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
                    (group / "memory.oom.group").write_text("1")
            (group / "cpu.weight").write_text(str(max(1, min(limits.cpu_weight, 10_000))))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        return Cgroups([group]), ""
    return Cgroups([]), "cgroups cannot be written here: no CPU weight, no limit of processes"


def _version_1(limits: Limits, processes: int, name: str) -> tuple[Cgroups, str]:
    wanted = {"pids": {"pids.max": processes}}
    if limits.cpu_weight != 100:
        wanted["cpu"] = {"cpu.shares": max(2, limits.cpu_weight * 1024 // 100)}
    if limits.memory_bytes:
        wanted["memory"] = {"memory.limit_in_bytes": limits.memory_bytes}
    made: list[Path] = []
    missing: list[str] = []
    for controller, values in wanted.items():
        group = _own(controller) / name
        try:
            group.mkdir(exist_ok=True)
            for key, value in values.items():
                (group / key).write_text(str(value))
            made.append(group)
        except OSError as error:
            missing.append(f"no {controller} cgroup ({error.strerror})")
    return Cgroups(made), ", ".join(missing)


def _own(controller: str) -> Path:
    """This process's group of version 1; where it is not seen here, the topmost."""
    group = _ROOT / controller / _paths().get(controller, "/").lstrip("/")
    return group if group.exists() else _ROOT / controller


def _paths() -> dict[str, str]:
    """This process's group by controller; the unified hierarchy's under the empty name."""
    return {controller: path for controllers, path in _lines() for controller in controllers.split(",")}


def _lines() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, os.path.normpath(path)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
