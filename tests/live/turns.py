"""Who runs beside whom where tests run side by side (pytest-xdist).

A folder whose tests share something that runs (a platform, MLflow, PostgreSQL) stays on one worker, so that it is started
once; other tests go by file. The long folders come first: what is left at the end is short. A test marked `serial`
measures time: nothing else runs meanwhile, on any worker.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

MOST_WORKERS = 4  # each of them starts processes of its own
_HERE = Path(__file__)
_GATE, _ROOM = _HERE, _HERE.with_name("platform.py")  # locked as they are: no file to make, and none to leave behind
_LONG_FIRST = ("e2e", "contract/tracking", "crash", "contract", "browser", "unit")


def workers(paths: list[str]) -> int:
    """How many for these arguments of pytest: none of their own for a few tests that are named, else one for each core."""
    if any("::" in path or path.endswith(".py") for path in paths):
        return 0
    cores = len(os.sched_getaffinity(0))
    return min(cores, MOST_WORKERS) if cores > 1 else 0


def group(path: Path, tests: Path) -> str:
    """What stays together with the test file at `path`: `unit/arm/test_ids.py`, `unit/tracking`, `e2e`."""
    parts = path.relative_to(tests).parts
    if parts[0] == "unit":
        return "/".join(parts)
    return "/".join(parts[:2]) if parts[0] == "contract" else parts[0]


def rank(name: str) -> int:
    """The place of a group in the order of starting."""
    return next(at for at, start in enumerate((*_LONG_FIRST, "")) if name.startswith(start))


@contextmanager
def turn(alone: bool) -> Iterator[None]:
    """Hold the room with others, or alone. Who wants it alone keeps the gate shut until the others have left."""
    with ExitStack() as held:
        gate = held.enter_context(_GATE.open())
        room = held.enter_context(_ROOM.open())
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
