"""The one hook for numbers over time: `record`. They are added up here by minute, and written every few seconds.

What was recorded since the last `flush` is lost with the process; counters of other processes are taken over with a
watermark (`collector.py`) and are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from smalt.store import series
from smalt.store.database import Database
from smalt.store.series import MINUTE, Key, Point
from smalt.store.spread import bound_of

IDLE_S = 900.0  # so long a series is shown to Prometheus after something was last recorded
MOST_SERIES = 20_000  # in one flush: what is new beyond that is dropped, so that labels cannot eat the memory


@dataclass
class Total:
    """What was recorded since the start, and when something came last."""

    point: Point = field(default_factory=Point)
    last_at: float = 0.0


class Recorder:
    """Thread-safe. `scope` is a resource's id, or '' for the platform itself; times are seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[tuple[Key, int], Point] = {}
        self._totals: dict[Key, Total] = {}
        self._plain: dict[str, Key] = {}

    def record(
        self, scope: str, name: str, value: float, labels: Mapping[str, str] | None = None, spread: bool = False
    ) -> None:
        """`spread`: quantiles of it are wanted."""
        bound = bound_of(value) if spread else None
        key = self._key(scope, name, labels)
        now = self._clock()
        with self._lock:
            for point in self._points(key, now):
                point.add(value, bound)

    def record_all(self, scope: str, values: Iterable[tuple[str, float]]) -> None:
        """Of one resource (name, value), as `record` would one after the other."""
        lowered, now = scope.lower(), self._clock()
        with self._lock:
            for name, value in values:
                for point in self._points(Key(lowered, name), now):
                    point.add(value)

    def _key(self, scope: str, name: str, labels: Mapping[str, str] | None) -> Key:
        if labels or scope:
            return Key(scope.lower(), name, tuple(sorted((labels or {}).items())))
        return self._plain.setdefault(name, Key("", name))

    def _points(self, key: Key, now: float) -> Sequence[Point]:
        """Where something of `key` is added now: to its minute, and to what came since the start. Under the lock."""
        minute = int(now // MINUTE) * MINUTE
        pending = self._pending.get((key, minute))
        if pending is None:
            if len(self._pending) >= MOST_SERIES:
                return ()
            pending = self._pending[key, minute] = Point()
        total = self._totals.get(key)
        if total is None:
            total = self._totals[key] = Total()
        total.last_at = now
        return pending, total.point

    def note(self, points: Mapping[tuple[Key, int], Point]) -> None:
        """These are written already: they are shown with the rest."""
        now = self._clock()
        with self._lock:
            for (key, _), point in points.items():
                total = self._totals.setdefault(key, Total())
                total.point.merge(point)
                total.last_at = now

    def flush(self, database: Database) -> None:
        """Write what came since the last time. What cannot be written is kept for the next."""
        with self._lock:
            taken, self._pending = self._pending, {}
            self._forget_idle()
        if not taken:
            return
        try:
            with database.write() as connection:
                series.add(connection, taken)
        except BaseException:
            self._give_back(taken)
            raise

    def _give_back(self, taken: Mapping[tuple[Key, int], Point]) -> None:
        with self._lock:
            newer, self._pending = self._pending, dict(taken)
            for at, point in newer.items():
                self._pending.setdefault(at, Point()).merge(point)

    def totals(self) -> Iterable[tuple[Key, Point]]:
        """All that was recorded since the start, of each series that goes on."""
        with self._lock:
            self._forget_idle()
            return [(key, total.point.copy()) for key, total in sorted(self._totals.items(), key=_order)]

    def _forget_idle(self) -> None:
        """Jobs end, and their series with them."""
        old = self._clock() - IDLE_S
        if any(total.last_at < old for total in self._totals.values()):
            self._totals = {key: total for key, total in self._totals.items() if total.last_at >= old}


def _order(one: tuple[Key, object]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return one[0].name, one[0].scope, one[0].labels
