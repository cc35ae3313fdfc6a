"""What a running task may use, looked at by its agent: one interface for whatever can be over its limit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from smalt.agent.wire import Outcome

_PREPARING_EVERY_S = 0.05
SHARE = 100  # a look that took 1 ms of processor time is not repeated within 100 ms


@dataclass(frozen=True)
class Ending:
    outcome: Outcome
    reason: str = ""  # in words, unless the command ended by itself


class Bound(Protocol):
    """`due`: when it is to be looked at again, in seconds of `time.monotonic`."""

    due: float

    def look(self) -> Ending | None:
        """How the task is to end, at once, if it is over; nothing before `due`."""
        ...


class OverLimit(Exception):
    """Raised out of preparing."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


@contextmanager
def held_to(bound: Bound) -> Iterator[None]:
    """What is done meanwhile by this process, in whatever call, is broken off by OverLimit."""

    def look(*_: object) -> None:
        if ending := bound.look():
            raise OverLimit(ending)

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PREPARING_EVERY_S, _PREPARING_EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def words(size_bytes: int) -> str:
    """A size for people: `7.0 GiB`, `96 MiB`."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"
