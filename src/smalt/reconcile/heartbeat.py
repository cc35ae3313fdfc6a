"""What goes on beside the steps: leases are kept, a clock that was set is noticed, old changes are forgotten."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.platform import Platform
from smalt.reconcile.pace import Pace
from smalt.store import changes, claims, clock, lineage
from smalt.store.clock import SharedClock, steady
from smalt.store.database import Collision
from smalt.store.resources import Row

log = logging.getLogger("smalt.reconcile")


class Heartbeat:
    """`keep` and `drop` say which claimed rows are worked on; each lease is its own, also of the same row."""

    def __init__(
        self,
        platform: Platform,
        kinds: Sequence[str],
        pace: Pace,
        steady: Callable[[], float] = steady,
        by_the_clock: Sequence[str] = (),
        returned: Callable[[], None] = lambda: None,
    ) -> None:
        """`kinds`: of the loop; `by_the_clock`: those of them that wait for times of day.

        `returned` is called when other servers have taken this one for lost: what it had may be theirs.
        """
        self._platform = platform
        self._kinds = kinds
        self._by_the_clock = by_the_clock
        self._pace = pace
        self._steady = steady
        self._held: dict[tuple[str, str | None], Row] = {}
        self._lock = threading.Lock()
        self._ahead = platform.clock() - steady()
        self._forgotten_at = float("-inf")
        self._returned = returned

    def keep(self, rows: Sequence[Row]) -> None:
        with self._lock:
            self._held.update({(row.id, row.lease): row for row in rows})

    def drop(self, row: Row) -> None:
        with self._lock:
            self._held.pop((row.id, row.lease), None)

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._pace.lease_s / 3):
            try:
                self.beat()
            except (SQLAlchemyError, Collision) as error:
                log.warning("leases could not be extended: %s", error)
            except Exception:  # the edge: without this thread every lease would run out
                log.exception("leases could not be extended")

    def beat(self) -> None:
        self._follow_clock()
        with self._lock:
            held = list(self._held.values())
        lost: list[Row] = []
        if held:
            with self._platform.database.write() as connection:
                until = self._platform.clock() + self._pace.lease_s
                lost = [row for row in held if not claims.extend(connection, row, until)]
        for row in lost:
            self.drop(row)
        if self._platform.servers.beat():
            self._returned()
        self._platform.audit.settle()
        if self._steady() - self._forgotten_at >= self._pace.forget_s:
            self._forget()

    def _follow_clock(self) -> None:
        """Where the clock was set, what waits for a time moves with it, by the first of several servers."""
        if isinstance(self._platform.clock, SharedClock):
            self._platform.clock.settle()
        ahead = self._platform.clock() - self._steady()
        jump, self._ahead = ahead - self._ahead, ahead
        if abs(jump) < self._pace.jump_s:
            return
        with self._platform.database.write() as connection:
            if clock.first_to_notice(connection, jump, self._platform.clock()):
                claims.shift(connection, self._kinds, jump)
                claims.look_again(connection, self._by_the_clock, self._platform.clock())
                log.warning("the clock was set by %+.1f s; what waits goes on to wait as long as before", jump)

    def _forget(self) -> None:
        """A piece at a time; what is left goes with the next beats."""
        with self._platform.database.write() as connection:
            gone = changes.forget(connection, self._platform.clock())
            gone += lineage.forget(connection, self._platform.clock())
        if not gone:
            self._forgotten_at = self._steady()
