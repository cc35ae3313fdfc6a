"""Who may start before the first in the queue, which waits for more nodes than are free, without delaying it. Pure.

Two may: who is preemptible, since the first takes its nodes back when it lacks no others; and who ends, by its own
limit of time, before the first could start. That is known where those who have the nodes have limits, too. Without
limits nobody is let past: else a job over many nodes would wait for as long as small ones come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLACK_S = 30.0  # a task's own limit runs from its command's start, and it may take its time to end


@dataclass(frozen=True)
class Gap:
    """Nodes that are free until `until`, too few for the first in the queue; `left`: those that it does not need then.

    `reclaims`: the first takes nodes back from who is preemptible.
    """

    free: int
    until: float
    left: int
    reclaims: bool

    def takes(self, nodes: int, preemptible: bool, limit_s: float, now: float) -> bool:
        if nodes > self.free:
            return False
        if (preemptible and self.reclaims) or nodes <= self.left:
            return True
        return limit_s > 0 and now + limit_s + SLACK_S <= self.until


@dataclass(frozen=True)
class Held:
    """A node that somebody has: until when at the latest (None: nobody knows), and whether he gives way."""

    until: float | None
    preemptible: bool


def gap(free: int, needs: int, held: Sequence[Held], reclaims: bool) -> Gap | None:
    """What is free before the first has its `needs`; None: nothing, or it has them as soon as others give way."""
    lack = needs - free
    if not free or lack <= (sum(one.preemptible for one in held) if reclaims else 0):
        return None
    ends = sorted(one.until for one in held if one.until is not None)
    if lack > len(ends):  # nobody knows when it starts
        return Gap(free, 0.0, 0, reclaims)
    until = ends[lack - 1]
    left = free + sum(end <= until for end in ends) - needs
    return Gap(free, until, min(left, free), reclaims)
