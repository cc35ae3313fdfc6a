"""What can be given out and bounded: memory, processor time, processes, open files."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path

from smalt.agent.limits import make_cgroups
from smalt.agent.wire import Limits
from smalt.doctor.finding import Finding, no, ok, warn
from smalt.doctor.machine import Machine, as_root

GIB = 2**30
LITTLE_MEMORY = 2 * GIB  # of the machine or the container
LITTLE_AVAILABLE = 1 * GIB  # MLflow and the server take half of it
FEW_FILES = 4096
_CONTROLLERS = ("memory", "cpu", "pids")


def cgroups(machine: Machine) -> Finding:
    """Makes the groups of a task as the agent does, and removes them."""
    version = 2 if (machine.base / "sys/fs/cgroup/cgroup.controllers").exists() else 1
    wanted = Limits(cpu_weight=200, memory_bytes=GIB)
    if not any((machine.base / "sys/fs/cgroup").glob("*")):
        return no("none are mounted", _means(_CONTROLLERS), as_root("mount -t cgroup2 none /sys/fs/cgroup"))
    groups, missing = make_cgroups(wanted, 8192, f"doctor-{os.getpid()}")
    groups.remove()
    lacking = [one for one in _CONTROLLERS if re.search(rf"\bno {one}\b", missing)] if groups.folders else _CONTROLLERS
    if not missing:
        return ok(f"version {version}: memory, cpu and pids can be written")
    fact = f"version {version}: {', '.join(lacking)} cannot be written"
    can = [one for one in _CONTROLLERS if one not in lacking]
    fact += f" ({', '.join(can)} can)" if can else ""
    return (warn if can else no)(fact, _means(lacking), _delegated(version, machine))


def _means(lacking: Sequence[str]) -> str:
    missing = [words for one, words in (("cpu", "processor time"), ("pids", "processes")) if one in lacking]
    means = [f"jobs run without a limit of {', '.join(missing)}"] if missing else []
    return "; ".join(means + (["their agents look at jobs' memory once a second"] if "memory" in lacking else []))


def _delegated(version: int, machine: Machine) -> str:
    """Version 1 has no way to hand a group to a user."""
    if os.geteuid() == 0:
        return "docker run --privileged --cgroupns=host …"
    if version == 2:
        return f"systemd-run --user --scope -p Delegate=yes {machine.smalt('up')}"
    return "start the kernel with: systemd.unified_cgroup_hierarchy=1"


def memory(machine: Machine) -> Finding:
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB", machine.read("proc/meminfo"), re.MULTILINE))
    total, available = int(told.get("MemTotal", 0)) * 1024, int(told.get("MemAvailable", 0)) * 1024
    if not total:
        return warn("cannot be told", "jobs may ask for more than there is", "ls -l /proc/meminfo")
    most = _own_limit(machine)
    bound = most is not None and most < total
    fact = f"{total / GIB:.1f} GiB, {available / GIB:.1f} available"
    fact += f"; this container may have {most / GIB:.1f}" if bound and most is not None else ""
    if min(total, most or total) < LITTLE_MEMORY:
        remedy = "docker run --memory 4g …" if bound else "a machine with 4 GiB"
        return warn(fact, "the platform takes half a GiB; little is left for jobs", remedy)
    if available < LITTLE_AVAILABLE:
        return warn(fact, "jobs may be ended for lack of memory", "ps aux --sort=-rss | head")
    return ok(fact)


def _own_limit(machine: Machine) -> int | None:
    """The least of the limits of this process's group and those above it, in bytes."""
    found: list[int] = []
    for line in machine.read("proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = machine.base / "sys/fs/cgroup" / ("memory" if controllers else "")
        own = base / Path(path).relative_to("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(base):
                for name in ("memory.max", "memory.limit_in_bytes"):
                    text = machine.read(str((folder / name).relative_to(machine.base)))
                    found += [int(text)] if text.isdigit() else []
    return min(found, default=None)


def open_files(_machine: Machine) -> Finding:
    return open_files_found(*resource.getrlimit(resource.RLIMIT_NOFILE))


def open_files_found(soft: int, hard: int) -> Finding:
    """What a process may open: now, and at most."""
    endless = resource.RLIM_INFINITY
    shown = "unlimited" if soft == endless else str(soft)
    if soft == endless or soft >= FEW_FILES:
        return ok(f"{shown} for each process")
    means = "many clients at once, or jobs with many files, may fail with 'Too many open files'"
    can = hard == endless or hard >= FEW_FILES
    remedy = f"ulimit -n {65536 if hard == endless else min(hard, 65536)}" if can else as_root("prlimit --nofile=65536")
    return warn(f"{shown} for each process", means, remedy + ("" if can else " --pid $$"))
