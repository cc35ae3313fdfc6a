"""What a running task may use, looked at by its agent: one interface for whatever can be over its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from smalt.agent.wire import Outcome

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


def words(size_bytes: int) -> str:
    """A size for people: `7.0 GiB`, `96 MiB`."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"
