"""How fast the control loop goes, and what it allows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smalt.arm.kind import BULK, CLEANUP, CONTROL, SERVING, TELLING


def _workers() -> dict[str, int]:
    return {SERVING: 3, CONTROL: 6, CLEANUP: 3, BULK: 1, TELLING: 2}


@dataclass(frozen=True)
class Pace:
    """Seconds; how often a failing step is tried before its resource fails; how many steps of each lane run at once."""

    lease_s: float = 30.0
    resync_s: float = 30.0
    backoff_s: float = 0.2
    backoff_most_s: float = 30.0
    tries: int = 8
    workers: Mapping[str, int] = field(default_factory=_workers)
    deleted_at_once: int = 500  # rows that one transaction of a delete marks or removes
    forget_s: float = 3600.0  # how often old changes are looked for
    jump_s: float = 2.0  # a clock that is set by more than this takes the timers with it
