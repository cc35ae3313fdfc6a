"""Numbers over time, by minute and by hour: what was recorded is added to its minute and its hour, and read from those.

A point is count, sum, least, most and last of what was recorded, and where the spread matters how many lay below each
of a set of bounds. Points are added up, never replaced, so several servers may record the same series.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, and_, delete, select, text

from smalt.store.database import exclusive
from smalt.store.spread import GROWTH
from smalt.store.tables import rollup, series, watermark

One = TypeVar("One")
MINUTE, HOUR = 60, 3600
KEPT_S = {MINUTE: 30 * 86_400.0, HOUR: 400 * 86_400.0}
_ADD = text(
    "INSERT INTO rollup (series, grain, at, count, sum, min, max, last, buckets)"
    " VALUES (:series, :grain, :at, :count, :sum, :min, :max, :last, :buckets)"
    " ON CONFLICT (series, grain, at) DO UPDATE SET count = rollup.count + excluded.count,"
    " sum = rollup.sum + excluded.sum, min = CASE WHEN excluded.min < rollup.min THEN excluded.min ELSE rollup.min END,"
    " max = CASE WHEN excluded.max > rollup.max THEN excluded.max ELSE rollup.max END, last = excluded.last,"
    " buckets = COALESCE(excluded.buckets, rollup.buckets)"
)


class Key(NamedTuple):
    """`scope`: a resource's lowered id, or nothing for the platform's own; `labels` in the order of their names."""

    scope: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass
class Point:
    """What was recorded within a time. `buckets`: upper bound → how many of the values, each counted once."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    last: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict[float, int])

    def add(self, value: float, bound: float | None = None) -> None:
        """`bound`: the one that it is counted below, where the spread matters."""
        self.count += 1
        self.sum += value
        self.last = value
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        if bound is not None:
            self.buckets[bound] = self.buckets.get(bound, 0) + 1

    def merge(self, other: Point) -> None:
        """`other` is the later one."""
        self.count, self.sum, self.last = self.count + other.count, self.sum + other.sum, other.last
        self.min, self.max = min(self.min, other.min), max(self.max, other.max)
        for bound, count in other.buckets.items():
            self.buckets[bound] = self.buckets.get(bound, 0) + count

    def beside(self, other: Point) -> Point:
        """What both had at once, of the same time."""
        count = max(self.count, other.count)
        total = (self.mean + other.mean) * count
        return Point(count, total, self.min + other.min, self.max + other.max, self.last + other.last)

    def copy(self) -> Point:
        return replace(self, buckets=dict(self.buckets))

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else 0.0

    def quantile(self, part: float) -> float | None:
        """The value below which `part` (0–1) of all lie, between the bounds around it; None without buckets."""
        total = sum(self.buckets.values())
        if not total:
            return None
        seen, wanted = 0, part * total
        for bound, count in sorted(self.buckets.items()):
            if seen + count >= wanted:
                least, most = max(bound / GROWTH, min(self.min, bound)), min(bound, max(self.max, bound / GROWTH))
                return least + (most - least) * (wanted - seen) / count
            seen += count
        return self.max


def add(connection: Connection, points: Mapping[tuple[Key, int], Point]) -> None:
    """Each point belongs to a series and a minute (its first second)."""
    exclusive(connection, "series")  # buckets are read and written: one after the other
    ids = _ids(connection, {key for key, _ in points})
    for grain in (MINUTE, HOUR):
        grouped: dict[tuple[int, int], Point] = {}
        for (key, minute), point in sorted(points.items(), key=lambda one: one[0][1]):
            grouped.setdefault((ids[key], minute - minute % grain), Point()).merge(point)
        before = _spreads(connection, grain, [at for at, point in grouped.items() if point.buckets])
        rows = [_row(grain, at, point, before.get(at, {})) for at, point in sorted(grouped.items())]
        if rows:
            connection.execute(_ADD, rows)


def _row(grain: int, at: tuple[int, int], point: Point, before: dict[float, int]) -> dict[str, object]:
    buckets = None
    if point.buckets:
        both = Point(buckets=before)
        both.merge(point)
        buckets = json.dumps({f"{bound:g}": count for bound, count in both.buckets.items()})
    return {
        "series": at[0],
        "grain": grain,
        "at": at[1],
        "count": point.count,
        "sum": point.sum,
        "min": point.min,
        "max": point.max,
        "last": point.last,
        "buckets": buckets,
    }


def _spreads(
    connection: Connection, grain: int, wanted: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], dict[float, int]]:
    """The buckets that are there, by series and time."""
    found: dict[tuple[int, int], dict[float, int]] = {}
    for piece in _pieces(wanted):
        query = select(rollup.c.series, rollup.c.at, rollup.c.buckets).where(
            rollup.c.grain == grain,
            rollup.c.series.in_({one for one, _ in piece}),
            rollup.c.at.in_({at for _, at in piece}),
        )
        found |= {(row.series, row.at): _buckets(row.buckets) for row in connection.execute(query)}
    return found


def _buckets(written: str | None) -> dict[float, int]:
    return {float(bound): count for bound, count in json.loads(written or "{}").items()}


def _ids(connection: Connection, keys: Set[Key]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for piece in _pieces(sorted({key.scope for key in keys})):
        for row in connection.execute(select(series).where(series.c.scope.in_(piece))):
            found[Key(row.scope, row.name, tuple(sorted(json.loads(row.labels).items())))] = row.id
    for key in sorted(keys - found.keys(), key=lambda one: (one.scope, one.name, one.labels)):
        values = {"scope": key.scope, "name": key.name, "labels": json.dumps(dict(key.labels))}
        made = connection.execute(series.insert().values(values)).inserted_primary_key
        found[key] = int(made[0]) if made else 0
    return found


def _pieces(everything: Sequence[One], most: int = 500) -> Iterator[Sequence[One]]:
    """So much that one statement may name it."""
    for begin in range(0, len(everything), most):
        yield everything[begin : begin + most]


def read(
    connection: Connection, scopes: Sequence[str], names: Sequence[str], grain: int, since: float, until: float
) -> dict[Key, dict[int, Point]]:
    """The points of these resources' series of these names (all, where none is given) that begin within the time."""
    query = select(series.c.scope, series.c.name, series.c.labels, rollup).join(rollup, rollup.c.series == series.c.id)
    query = query.where(series.c.scope.in_(scopes), rollup.c.grain == grain, rollup.c.at >= since, rollup.c.at < until)
    if names:
        query = query.where(series.c.name.in_(names))
    found: dict[Key, dict[int, Point]] = {}
    for row in connection.execute(query.order_by(rollup.c.at)).mappings():
        key = Key(row["scope"], row["name"], tuple(sorted(json.loads(row["labels"]).items())))
        point = Point(row["count"], row["sum"], row["min"], row["max"], row["last"], _buckets(row["buckets"]))
        found.setdefault(key, {})[row["at"]] = point
    return found


def names(connection: Connection, scopes: Sequence[str]) -> list[str]:
    query = select(series.c.name).where(series.c.scope.in_(scopes)).distinct().order_by(series.c.name)
    return list(connection.execute(query).scalars())


def forget(connection: Connection, now: float, most: int = 2000) -> int:
    """Remove up to `most` points of each grain that are too old; how many went."""
    gone = 0
    for grain, kept_s in KEPT_S.items():
        old = and_(rollup.c.grain == grain, rollup.c.at < now - kept_s)
        query = select(rollup.c.series, rollup.c.at).where(old).limit(most)
        for row in connection.execute(query).all():
            here = and_(rollup.c.series == row.series, rollup.c.grain == grain, rollup.c.at == row.at)
            gone += connection.execute(delete(rollup).where(here)).rowcount
    return gone


def remove(connection: Connection, scope: str) -> None:
    """All that was recorded of a resource that is gone."""
    ids = list(connection.execute(select(series.c.id).where(series.c.scope == scope)).scalars())
    if ids:
        connection.execute(delete(rollup).where(rollup.c.series.in_(ids)))
        connection.execute(delete(series).where(series.c.id.in_(ids)))


def taken_over(connection: Connection, names: Sequence[str], epoch: str) -> dict[str, dict[str, float]]:
    """How far the counters of these names had come when they were last taken over from the process `epoch`."""
    found: dict[str, dict[str, float]] = {}
    for piece in _pieces(names):
        query = select(watermark).where(watermark.c.name.in_(piece), watermark.c.epoch == epoch)
        found |= {row.name: json.loads(row.totals) for row in connection.execute(query)}
    return found


def take_over(connection: Connection, totals: Mapping[str, Mapping[str, float]], epoch: str) -> None:
    """They have come so far now. What other processes had counted under these names is over."""
    for piece in _pieces(list(totals)):
        connection.execute(delete(watermark).where(watermark.c.name.in_(piece)))
    rows = [{"name": name, "epoch": epoch, "totals": json.dumps(dict(values))} for name, values in totals.items()]
    connection.execute(watermark.insert(), rows)


def forget_taken_over(connection: Connection, begin: str, there: Set[str]) -> None:
    """The marks whose names begin so go, but for those that go on with one of `there`."""
    for name in connection.execute(select(watermark.c.name)).scalars().all():
        if name.startswith(begin) and name.removeprefix(begin) not in there:
            connection.execute(delete(watermark).where(watermark.c.name == name))
