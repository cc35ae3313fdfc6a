"""The one control loop: claim what is due, run its kind's step, apply what it found; again for ever.

Truth is `due_at` in the database; hints only shorten the wait. Any number of loops may run on one database: a claim
is a lease, a heartbeat extends it, an apply counts only while it is held. What a step or its apply raises is
retried with growing pauses and, past the limit, becomes the resource's failure, with the real error and in the
kind's own way (`Kind.fail`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.errors import ArmError
from smalt.arm.kind import Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.registry import Kinds
from smalt.reconcile.below import Below, RemoveStored
from smalt.reconcile.heartbeat import Heartbeat
from smalt.reconcile.pace import Pace
from smalt.store import claims, operations, resources
from smalt.store.claims import Lane
from smalt.store.database import Collision
from smalt.store.resources import Row

log = logging.getLogger("smalt.reconcile")

Written = TypeVar("Written")

_RETRY = "retry"
_WRITES = 5  # how often an apply that meets others is tried
_AT_A_STRETCH = 8  # steps of one row, each due at once, before others have their turn


class Loop:
    """`run` blocks until `stop`; one instance is one holder of leases."""

    def __init__(
        self,
        platform: Platform,
        kinds: Kinds,
        remove_stored: RemoveStored,
        pace: Pace | None = None,
        stepped: Callable[[str, float], None] = lambda kind, seconds: None,
        returned: Callable[[], None] = lambda: None,
    ) -> None:
        """`stepped` is told the kind of each step, and how long it took in s, its apply included.

        `returned` is called when other servers have taken this one for lost (`store/servers.py`).
        """
        self._stepped = stepped
        self._platform = platform
        self._kinds = kinds
        self._pace = pace or Pace()
        self._keys = kinds.reconciled()
        self._lanes: Mapping[str, Lane] = kinds.lanes()
        self._below = Below(platform, kinds, remove_stored, self._pace)
        self.heartbeat = Heartbeat(
            platform, self._keys, self._pace, by_the_clock=kinds.by_the_clock(), returned=returned
        )
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._busy = dict.fromkeys(self._lanes, 0)
        self._hints: dict[str, None] = {}
        platform.hub.listen(self._wake.set)

    def run(self) -> None:
        heart = threading.Thread(target=self.heartbeat.run, args=(self._stopping,), name="lease-heartbeat", daemon=True)
        heart.start()
        pools = {name: ThreadPoolExecutor(self._pace.workers[name], thread_name_prefix=name) for name in self._lanes}
        for pool in pools.values():  # one thread at least is there, whatever the machine allows later
            with suppress(RuntimeError):
                pool.submit(self._wake.set)
        while not self._stopping.is_set():
            self._wake.clear()
            self._wake.wait(self._look(pools))
        for pool in pools.values():
            pool.shutdown()
        heart.join()

    def stop(self) -> None:
        """Take nothing new; `run` returns when the steps under way have ended."""
        self._stopping.set()
        self._wake.set()

    def hint(self, key: str) -> None:
        """Something outside changed: look at the row soon. From any thread; a lost hint costs time only."""
        with self._lock:
            self._hints[key.lower()] = None
        self._wake.set()

    def resume(self) -> None:
        """After a start: everything that was not at its end is looked at again at once."""
        with self._platform.database.write() as connection:
            claims.resume(connection, self._keys, self._platform.clock(), self._platform.servers.me)
        self._wake.set()

    def run_due(self) -> int:
        """Claim and step what is due now, in this thread, until nothing is; the number of steps. For tests."""
        count = 0
        while rows := self.claim(dict.fromkeys(self._lanes, 1)):
            for row in rows:
                self.step(row)
                count += 1
        return count

    def step(self, row: Row) -> None:
        """One pass over one claimed row, and over what it is then as long as it is due at once."""
        goes_on: Row | None = row
        for left in reversed(range(_AT_A_STRETCH)):
            if goes_on is None:
                return
            row, begun = goes_on, time.perf_counter()
            try:
                goes_on = self._step(row, last=not left or self._stopping.is_set())
            finally:
                self._stepped(row.kind, time.perf_counter() - begun)

    def _step(self, row: Row, last: bool) -> Row | None:
        """The row, still leased, where it is due at once; with `last` it is given back all the same."""
        kind = self._kinds[row.kind]
        assert kind.reconcile is not None
        if self._is_anothers(row):
            return self._apply(row, Step(row.state, row.status, after=0, home=row.home))
        if row.deleting and self._written(lambda connection: self._below.await_gone(connection, row)):
            self.heartbeat.drop(row)
            return None
        try:
            return self._apply(row, kind.reconcile(self._platform, row), last)
        except NotReady:  # not the resource's fault: it does not count as a try
            return self._apply(row, Step(row.state, row.status, after=self._pace.backoff_s * 2))
        except Exception as error:  # the loop's edge: whatever a step raises is this resource's problem, not the loop's
            return self._apply(row, self._failed(kind, row, error))

    def claim(self, most: Mapping[str, int]) -> list[Row]:
        """Due rows, now leased by this loop: up to `most` of each lane that it names.

        Nothing is written where nothing is due.
        """
        now, database = self._platform.clock(), self._platform.database
        with self._lock:
            hints, self._hints = list(self._hints), {}
        try:
            keys = [] if hints else self._due(now, most)
            if not keys and not hints:
                return []
            with database.write() as connection:
                if hints:
                    resources.poke(connection, hints, now)
                    keys = self._due_in(connection, now, most)
                lease = f"{claims.lease_of(self._platform.servers.me)}{uuid.uuid4()}"
                rows = claims.claim(connection, keys, now, lease, self._pace.lease_s, self._others) if keys else []
        except (SQLAlchemyError, Collision) as error:
            log.warning("nothing could be claimed: %s", error)
            with self._lock:
                self._hints = {**dict.fromkeys(hints), **self._hints}
            return []
        self.heartbeat.keep(rows)
        return rows

    @property
    def _others(self) -> claims.Others:
        return tuple(sorted(self._platform.servers.others))

    def _is_anothers(self, row: Row) -> bool:
        """It was claimed before its server was heard of here."""
        servers = self._platform.servers
        return row.home not in (None, servers.me) and not servers.lost(row.home)

    def _due(self, now: float, most: Mapping[str, int]) -> list[str]:
        with self._platform.database.read() as connection:
            return self._due_in(connection, now, most)

    def _due_in(self, connection: Connection, now: float, most: Mapping[str, int]) -> list[str]:
        return [
            key
            for name, lane in self._lanes.items()
            if most.get(name, 0) > 0
            for key in claims.due(connection, lane, now, most[name], self._others)
        ]

    def _look(self, pools: Mapping[str, ThreadPoolExecutor]) -> float | None:
        try:
            return self._pause(self._claim_all(pools))
        except Exception:  # the edge: without this thread nothing goes on any more
            log.exception("what is due could not be looked at")
            return 1.0

    def _claim_all(self, pools: Mapping[str, ThreadPoolExecutor]) -> list[Lane]:
        """Claim and start what is due; the lanes that have a worker left."""
        while not self._stopping.is_set():
            with self._lock:
                free = {name: self._pace.workers[name] - busy for name, busy in self._busy.items()}
            rows = self.claim(free) if any(free.values()) else []
            for row in rows:
                lane = next(name for name, one in self._lanes.items() if one.takes(row))
                with self._lock:
                    self._busy[lane] += 1
                free[lane] -= 1
                try:
                    pools[lane].submit(self._work, row, lane)
                except RuntimeError as error:  # no thread can be started; the row waits for one that there is
                    log.warning("%s waits for a thread: %s", row.id, error)
            if not rows or all(free.values()):  # these were all; what becomes due from now on wakes
                return [lane for name, lane in self._lanes.items() if free[name]]
        return []

    def _work(self, row: Row, lane: str) -> None:
        try:
            self.step(row)
        except Exception:
            log.exception("the result of a step on %s could not be written; its lease will expire", row.id)
            self.heartbeat.drop(row)
        with self._lock:
            self._busy[lane] -= 1
        self._wake.set()

    def _apply(self, row: Row, step: Step, last: bool = True) -> Row | None:
        """The row, if it is due at once and not `last`: this loop still has it."""
        stays = step.home in (None, "", self._platform.servers.me)
        lease_s = self._pace.lease_s if step.after == 0 and not last and stays else 0
        goes_on = self._written(lambda connection: self._apply_in(connection, row, step, lease_s))
        if goes_on is None:
            self.heartbeat.drop(row)
        return goes_on

    def _written(self, write: Callable[[Connection], Written]) -> Written:
        """One transaction, again where it met another's."""
        for left in reversed(range(_WRITES)):
            try:
                with self._platform.database.write() as connection:
                    return write(connection)
            except (Collision, resources.Changed, resources.Exists):
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _apply_in(self, connection: Connection, row: Row, step: Step, lease_s: float) -> Row | None:
        now = self._platform.clock()
        error = dict(step.error) if step.error else None
        if step.gone:
            if self._removed(connection, row, error, now) and step.writes is not None:
                step.writes(connection)
            return None
        retried = step.reason == _RETRY
        news = step.reason if not retried and step.reason != row.status.get("reason") else ""
        kept = claims.apply(
            connection,
            row,
            status={**step.status, "reason": news} if news else step.status,
            state=step.state,
            due_at=None if step.after is None else now + step.after,
            failures=row.failures + 1 if retried else 0,
            now=now,
            reason=news,
            ended=step.done,
            final=step.final,
            lease_s=lease_s,
            home=step.home,
        )
        if kept and step.writes is not None:
            step.writes(connection)
        if kept and step.done:
            upto = operations.UNTIL_GONE - 1 if step.final else row.generation
            operations.finish(connection, row.id, upto, error, now)
        return claims.held(connection, row) if kept and lease_s else None

    def _removed(self, connection: Connection, row: Row, error: Mapping[str, object] | None, now: float) -> bool:
        # Once more in this transaction: something may have been made below while the step ran.
        if claims.held(connection, row) is None or self._below.await_gone(connection, row):
            return False
        hook = self._kinds[row.kind].deleted
        operations.finish(connection, row.id, operations.UNTIL_GONE, dict(error) if error else None, now)
        resources.remove(connection, row.id, now)
        if hook is not None:
            hook(connection, row, now)
        return True

    def _failed(self, kind: Kind, row: Row, error: Exception) -> Step:
        if row.failures + 1 < self._pace.tries and not (isinstance(error, ArmError) and error.status < 500):
            log.warning("%s %s: %s (try %d)", kind.title, row.id, error, row.failures + 1, exc_info=row.failures == 0)
            pause = min(self._pace.backoff_s * 2**row.failures, self._pace.backoff_most_s)
            return _again(row, pause * random.uniform(0.7, 1.3))
        log.error("%s %s failed: %s", kind.title, row.id, error)
        body = error.body() if isinstance(error, ArmError) else {"code": "InternalError", "message": str(error)}
        status = {**row.status, "error": body}
        if row.deleting:  # a delete is never given up
            return Step(row.state, status, after=self._pace.backoff_most_s, reason=_RETRY)
        if kind.fail is not None:
            return kind.fail(self._platform, row, body)
        return Step("Failed", status, done=True, error=body, reason=str(error)[:500])

    def _pause(self, lanes: Sequence[Lane]) -> float | None:
        """Seconds until something is due in one of the lanes. In the others the end of a step wakes."""
        if not lanes:
            return None
        try:
            with self._platform.database.read() as connection:
                dues = [due for lane in lanes if (due := claims.next_due(connection, lane, self._others)) is not None]
        except SQLAlchemyError:
            return 1.0
        if not dues:
            return self._pace.resync_s
        return min(max(min(dues) - self._platform.clock(), 0.0), self._pace.resync_s) + 0.001


def _again(row: Row, after: float) -> Step:
    return Step(row.state, row.status, after=after, reason=_RETRY)
