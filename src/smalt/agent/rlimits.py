"""What the kernel bounds of each process of a task (setrlimit(2)), for itself and all that it starts.

Open files: the soft limit, which a command may raise up to the machine's hard one (`ulimit -n`). Core dumps: none,
since they would hold the task's secrets; 1 byte and not 0, because the kernel hands a dump to a program (a
`core_pattern` with a pipe) whatever the limit is, but for this one. The size of one file, where the disk is limited.
Processes: only where no cgroup counts them, and the task's user is its workspace's alone; RLIMIT_NPROC counts all
processes of a user.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping

from smalt.agent.wire import TaskSpec

Rlimits = Mapping[int, tuple[int, int]]  # soft and hard, by resource


def rlimits(spec: TaskSpec, processes_counted: bool) -> Rlimits:
    """`processes_counted`: a cgroup bounds them."""
    found = {resource.RLIMIT_NOFILE: open_files(spec), resource.RLIMIT_CORE: _at_most(resource.RLIMIT_CORE, 1)}
    if spec.limits.disk_bytes:
        found[resource.RLIMIT_FSIZE] = _at_most(resource.RLIMIT_FSIZE, spec.limits.disk_bytes)
    if not processes_counted and counts_processes(spec):
        found[resource.RLIMIT_NPROC] = _at_most(resource.RLIMIT_NPROC, spec.processes_most)
    return found


def counts_processes(spec: TaskSpec) -> bool:
    """Whether RLIMIT_NPROC would count this workspace's processes alone."""
    return spec.walls is not None and spec.walls.user != 0


def open_files(spec: TaskSpec) -> tuple[int, int]:
    """How many a process of the task may open: at first, and at most. The hard limit is the agent's own."""
    return _at_most(resource.RLIMIT_NOFILE, spec.open_files_most)[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _at_most(which: int, wanted: int) -> tuple[int, int]:
    hard = resource.getrlimit(which)[1]
    least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return least, least
