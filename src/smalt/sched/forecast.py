"""When those who wait for a compute's nodes will have them, as far as the past tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from statistics import median

NEVER = float("inf")


def typical_s(durations_s: Sequence[float]) -> float | None:
    """How long jobs take here; None where none has ended yet."""
    return median(durations_s) if durations_s else None


def starts(
    busy_since: Iterable[float], free: int, wanted: Sequence[int], typical: float | None, now: float
) -> list[float | None]:
    """When each of those in the queue starts, by how many nodes it wants; None: nobody can know.

    `busy_since`: of each node that somebody has. `free`: nodes that could be given now. All jobs are taken to last
    `typical` seconds, those that last longer already to end now; nobody starts before who stands before him.
    """
    lasts = NEVER if typical is None else typical
    ends = [now] * free + [max(now, since + lasts) for since in busy_since]
    heapify(ends)
    found: list[float | None] = []
    begin = now
    for nodes in wanted:
        if nodes > len(ends):
            return found + [None] * (len(wanted) - len(found))
        begin = max(begin, *(heappop(ends) for _ in range(nodes)))
        for _ in range(nodes):
            heappush(ends, begin + lasts)
        found.append(None if begin == NEVER else begin)
    return found
