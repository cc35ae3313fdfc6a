"""A task's memory where no cgroup bounds it: the agent adds up what its descendants have, about once a second.

First their resident sizes, which the kernel has at hand; they count shared pages for each process. Only when that sum
is over the limit the proportional sizes are asked for, which take the kernel milliseconds a GiB. What is swapped out,
and what lies in `/dev/shm` and is mapped by nobody, is not counted. It takes two looks to end a task: processes that
end while one is taken leave their shares to the others, and the sum counts them twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from smalt.agent.bounds import SHARE, Ending, words
from smalt.agent.wire import Limits, Outcome

LOOK_EVERY_S = 1.0
_SOONEST_S = 0.1
_GROWTH = 2**30  # bytes a second, when it is near its limit
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class MemoryBound:
    """`pids` lists the task's processes, `proc` is where the kernel tells of them."""

    def __init__(self, limits: Limits, pids: Callable[[], Iterable[int]], proc: Path = _PROC) -> None:
        self._limits = limits
        self._pids = pids
        self._proc = proc
        self.due = time.monotonic()
        self._over = False  # at the last look

    def look(self) -> Ending | None:
        if time.monotonic() < self.due:
            return None
        begun = time.thread_time()
        pids = list(self._pids())
        used = sum(_resident(self._proc / str(one)) for one in pids)
        if used > self._limits.memory_bytes:
            used = sum(_proportional(self._proc / str(one)) for one in pids)
        before, self._over = self._over, used > self._limits.memory_bytes
        if self._over:
            self.due = time.monotonic() + _SOONEST_S
            return Ending(Outcome.OUT_OF_MEMORY, too_much_memory(self._limits)) if before else None
        soon = max(_SOONEST_S, min(LOOK_EVERY_S, (self._limits.memory_bytes - used) / _GROWTH))
        self.due = time.monotonic() + max(soon, SHARE * (time.thread_time() - begun))
        return None


def too_much_memory(limits: Limits) -> str:
    """The same words, whoever found it: the kernel or the agent."""
    more = "This machine has no more." if limits.memory_is_all else limits.more
    return (
        f"The command needed more memory than its node has ({words(limits.memory_bytes)}) and was killed."
        f" {more or 'Use a larger VM size, or less data at a time.'}"
    )


def _resident(process: Path) -> int:
    """Bytes; 0 for one that is gone."""
    try:
        return int((process / "statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(process: Path) -> int:
    """Bytes, each page's divided by how many processes have it; the resident size where that is not told."""
    with contextlib.suppress(OSError):
        for line in (process / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    return _resident(process)
