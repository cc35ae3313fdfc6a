"""The one hook for numbers over time: `record`. They are added up here by minute, and written every few seconds.

What was recorded since the last `flush` is lost with the process; counters of other processes are taken over with a
watermark (`collector.py`) and are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from smalt.store import series
from smalt.store.database import Database
from smalt.store.series import MINUTE, Key, Point
from smalt.store.spread import bound_of

IDLE_S = 900.0  # so long a series is shown to Prometheus after something was last recorded
MOST_SERIES = 20_000  # in one flush: what is new beyond that is dropped, so that labels cannot eat the memory


class Recorder:
    """Thread-safe. `scope` is a resource's id, or '' for the platform itself; times are seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[tuple[Key, int], Point] = {}
        self._totals: dict[Key, tuple[Point, float]] = {}  # since the start, and when something came last

    def record(
        self, scope: str, name: str, value: float, labels: Mapping[str, str] | None = None, spread: bool = False
    ) -> None:
        """`spread`: quantiles of it are wanted."""
        point = Point()
        point.add(value)
        if spread:
            point.buckets[bound_of(value)] = 1
        self.merge(Key(scope.lower(), name, tuple(sorted((labels or {}).items()))), point)

    def merge(self, key: Key, point: Point, at: float | None = None) -> None:
        now = self._clock() if at is None else at
        minute = int(now // MINUTE) * MINUTE
        with self._lock:
            if (key, minute) not in self._pending and len(self._pending) >= MOST_SERIES:
                return
            self._pending.setdefault((key, minute), Point()).merge(point)
            self._note(key, point, now)

    def note(self, points: Mapping[tuple[Key, int], Point]) -> None:
        """These are written already: they are shown with the rest."""
        now = self._clock()
        with self._lock:
            for (key, _), point in points.items():
                self._note(key, point, now)

    def _note(self, key: Key, point: Point, now: float) -> None:
        total, _ = self._totals.get(key) or (Point(), now)
        total.merge(point)
        self._totals[key] = (total, now)

    def flush(self, database: Database) -> None:
        """Write what came since the last time. What cannot be written is kept for the next."""
        with self._lock:
            taken, self._pending = self._pending, {}
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
        old = self._clock() - IDLE_S
        with self._lock:
            self._totals = {key: kept for key, kept in self._totals.items() if kept[1] >= old}
            return [(key, total.copy()) for key, (total, _) in sorted(self._totals.items(), key=_order)]


def _order(one: tuple[Key, object]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return one[0].name, one[0].scope, one[0].labels
