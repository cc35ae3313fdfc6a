"""Counters of other processes, and what came since they were last looked at.

A *source* counts from nothing, and what it has counted only grows: an inference server, or one make of a deployment in
the gateway. Whoever begins anew is another source, or is seen by counting less than before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

Counters = Mapping[str, float]
_BETWEEN = " "  # sources have no space in them


def flat(found: Mapping[str, Counters]) -> dict[str, float]:
    """By source and counter together, as it is kept until the next look."""
    return {f"{source}{_BETWEEN}{name}": value for source, one in found.items() for name, value in one.items()}


def kept(totals: Counters) -> dict[str, dict[str, float]]:
    """By source, from what `flat` made."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for key, value in totals.items():
        source, _, name = key.partition(_BETWEEN)
        found[source][name] = value
    return dict(found)


def since(before: Mapping[str, Counters], found: Mapping[str, Counters]) -> dict[str, float]:
    """What all sources together counted since `before`; only what is more than nothing."""
    new: defaultdict[str, float] = defaultdict(float)
    for source, one in found.items():
        known = before.get(source, {})
        if _began_anew(known, one):
            known = {}
        for name, value in one.items():
            if value > known.get(name, 0):
                new[name] += value - known.get(name, 0)
    return dict(new)


def _began_anew(known: Counters, one: Counters) -> bool:
    return any(one.get(name, 0) < value for name, value in known.items())


def disjoint(below: Iterable[tuple[float, float]]) -> dict[float, int]:
    """Counts between bounds, from (bound, how many are not above it). The last bound may be infinite: twice the one
    before stands for it."""
    found: dict[float, int] = {}
    before, last = 0.0, 0.0
    for bound, count in sorted(below):
        if count > before:
            found[bound if bound != float("inf") else 2 * last] = int(count - before)
        before, last = count, bound
    return found
