"""Conditions on metrics, as alert rules and autoscale settings have them: read from the series, and compared.

A window is the whole minutes that it names and the one that runs now; a long one is of hours, likewise. Totals and
counts are those of a window's length. Average, least, most and last of what is counted are those of its minutes' sums.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from smalt.kinds.insights.metrics import Labels, labels_of, scopes_of, source_of, together
from smalt.metrics.names import KNOWN
from smalt.store import series
from smalt.store.series import HOUR, MINUTE, Key, Point

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "Equals": operator.eq,
    "NotEquals": operator.ne,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqual": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqual": operator.le,
}
AGGREGATIONS = ("Average", "Minimum", "Maximum", "Total", "Count", "Last")
_LONG_S = 6 * HOUR  # windows of so much are read by the hour


@dataclass(frozen=True)
class Dimension:
    """Only series whose `label` has one of `values` (`*`: any), or none of them; each value is looked at by itself."""

    label: str
    values: tuple[str, ...]
    excludes: bool = False

    def takes(self, value: str | None) -> bool:
        if value is None:
            return False
        listed = "*" in self.values or value.lower() in {one.lower() for one in self.values}
        return listed != self.excludes


@dataclass(frozen=True)
class Condition:
    """`resource`: a lowered id; `window_s`: whole minutes; `divide`: by the number of instances."""

    resource: str
    metric: str
    aggregation: str
    operator: str
    threshold: float
    window_s: int
    dimensions: tuple[Dimension, ...] = ()
    divide: bool = False

    def holds(self, value: float) -> bool:
        return OPERATORS[self.operator](value, self.threshold)


@dataclass(frozen=True)
class Found:
    """`labels`: of the one series that this is the value of, by the condition's dimensions."""

    value: float
    labels: Labels = ()


def read(connection: Connection, one: Condition, now: float) -> list[Found]:
    """The values of its window, one for each combination of its dimensions; none where nothing was recorded.

    What counts how often something happened is 0 then.
    """
    name, part = source_of(one.metric)
    known = KNOWN.get(name)
    total = known is not None and known.total
    by_minute = total and one.aggregation in ("Minimum", "Maximum", "Last")
    grain = HOUR if one.window_s >= _LONG_S and not by_minute else MINUTE
    until = int(now)
    since = until - until % grain - one.window_s
    since -= since % grain
    found = series.read(connection, scopes_of(connection, one.resource), [name], grain, since, until + 1)
    split: dict[Labels, Point] = {}
    sums: dict[Labels, dict[int, float]] = {}
    by = [dimension.label for dimension in one.dimensions]
    for labels, points in together(found, name, lambda key: _labels(key, one.dimensions), by).items():
        sums[labels] = {at: point.sum for at, point in points.items()}
        for _, point in sorted(points.items()):
            split.setdefault(labels, Point()).merge(point)
    if not split and total and not one.dimensions:
        split[()] = Point()
    if by_minute:
        times = range(since, until + 1, MINUTE)
        each = {labels: [sums.get(labels, {}).get(at, 0.0) for at in times] for labels in sorted(split)}
        return [Found(_of_minutes(every, one.aggregation), labels) for labels, every in each.items()]
    scale = one.window_s / max(now - since, 1.0)
    if total and one.aggregation == "Average":
        part_of = scale * MINUTE / one.window_s
        return [Found(point.sum * part_of, labels) for labels, point in sorted(split.items())]
    values = ((labels, _value(point, one.aggregation, part, scale)) for labels, point in sorted(split.items()))
    return [Found(value, labels) for labels, value in values if value is not None]


def _of_minutes(sums: Sequence[float], aggregation: str) -> float:
    """`sums`: of all minutes, the last of which still runs: it may be the most, but neither the least nor the last."""
    *whole, running = sums
    return {"Minimum": min(whole), "Maximum": max(*whole, running), "Last": whole[-1]}[aggregation]


def _labels(key: Key, dimensions: Sequence[Dimension]) -> Labels | None:
    """None: the series is not asked for."""
    have = labels_of(key)
    if not all(one.takes(have.get(one.label.lower())) for one in dimensions):
        return None
    return tuple((one.label, have[one.label.lower()]) for one in dimensions)


def _value(point: Point, aggregation: str, part: float | None, scale: float) -> float | None:
    if aggregation == "Total":
        return point.sum * scale
    if aggregation == "Count":
        return point.count * scale
    if not point.count:
        return None
    if part is not None:
        return point.quantile(part)
    return {"Average": point.mean, "Minimum": point.min, "Maximum": point.max, "Last": point.last}[aggregation]
