"""Which clock the times in rows are of: this machine's with SQLite, the database's own with PostgreSQL.

Several servers then agree on what is due, however their machines' clocks are set.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, text

from smalt.store.database import Database, exclusive
from smalt.store.series import take_over, taken_over

_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_TRIES = 3  # the quickest answer is the truest
_MARK = "clock"
_SAME_S = 1.0  # what two servers measure of one jump differs by less
_NOTICED_S = 60.0  # all have noticed it by then


def steady() -> float:
    """Seconds that nobody sets; they go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SharedClock:
    """The database's time in seconds since the epoch, without asking it: `settle` does that."""

    def __init__(self, database: Database, steady: Callable[[], float] = steady) -> None:
        self._database = database
        self._steady = steady
        self._ahead = 0.0
        self.settle()

    def __call__(self) -> float:
        return self._steady() + self._ahead

    def settle(self) -> None:
        """Ask the database again; from then on the time is its, also where it jumped."""
        found: list[tuple[float, float]] = []
        with self._database.read() as connection:
            for _ in range(_TRIES):
                before = self._steady()
                now = float(connection.execute(_NOW).scalar_one())
                took = self._steady() - before
                found.append((took, now - before - took / 2))
        self._ahead = min(found)[1]


def first_to_notice(connection: Connection, jump: float, now: float) -> bool:
    """Whether no other server has moved the timers for this jump of `jump` s yet; `now` is the time after it."""
    exclusive(connection, _MARK)
    last = taken_over(connection, [_MARK], "").get(_MARK)
    if last and abs(last["by"] - jump) < _SAME_S and abs(now - last["at"]) < _NOTICED_S:
        return False
    take_over(connection, {_MARK: {"by": jump, "at": now}}, "")
    return True
