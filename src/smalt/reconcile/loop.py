"""The one control loop: claim what is due, run its kind's step, apply what it found; again for ever.

Truth is `due_at` in the database; hints only shorten the wait. Any number of loops may run on one database: a claim is a
lease, a heartbeat extends it, an apply counts only while it is held. What a step or its apply raises is retried with growing
pauses and, past the limit, becomes the resource's failure, with the real error and in the kind's own way (`Kind.fail`).
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.errors import ArmError
from smalt.arm.kind import Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.registry import Kinds
from smalt.store import operations, resources
from smalt.store.resources import Row

log = logging.getLogger("smalt.reconcile")

RemoveStored = Callable[[Connection, Row, float], None]
_RETRY = "retry"


@dataclass(frozen=True)
class Pace:
    """Seconds, and how often a failing step is tried before its resource fails."""

    lease_s: float = 30.0
    resync_s: float = 30.0
    backoff_s: float = 0.2
    backoff_most_s: float = 30.0
    tries: int = 8
    workers: int = 8


class Loop:
    """`run` blocks until `stop`; one instance is one holder of leases."""

    def __init__(self, platform: Platform, kinds: Kinds, remove_stored: RemoveStored, pace: Pace | None = None) -> None:
        self._platform = platform
        self._kinds = kinds
        self._remove_stored = remove_stored
        self._pace = pace or Pace()
        self._keys = kinds.reconciled()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._held: dict[str, Row] = {}
        self._held_lock = threading.Lock()
        platform.hub.listen(self._wake.set)

    def run(self) -> None:
        heart = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        heart.start()
        with ThreadPoolExecutor(self._pace.workers, thread_name_prefix="step") as pool:
            while not self._stopping.is_set():
                self._wake.clear()
                # With every worker busy there is nothing to claim for: the end of a step wakes.
                self._wake.wait(self._pause() if self._claim_all(pool) else None)
        heart.join()

    def stop(self) -> None:
        """Take nothing new; `run` returns when the steps under way have ended."""
        self._stopping.set()
        self._wake.set()

    def resume(self) -> None:
        """After a start: everything that was not at its end is looked at again at once."""
        with self._platform.database.write() as connection:
            alone = self._platform.database.sqlite  # then all leases are of a process that is gone
            resources.resume(connection, self._keys, self._platform.clock(), take_leases=alone)
        self._wake.set()

    def run_due(self) -> int:
        """Claim and step what is due now, in this thread, until nothing is; the number of steps. For tests."""
        count = 0
        while rows := self._claim(1):
            self.step(rows[0])
            count += 1
        return count

    def step(self, row: Row) -> None:
        """One pass over one claimed row."""
        kind = self._kinds[row.kind]
        assert kind.reconcile is not None
        if row.deleting and self._waits_for_children(row):
            return
        try:
            self._apply(row, kind.reconcile(self._platform, row))
        except NotReady:  # not the resource's fault: it does not count as a try
            self._apply(row, Step(row.state, row.status, after=self._pace.backoff_s * 2))
        except Exception as error:  # the loop's edge: whatever a step raises is this resource's problem, not the loop's
            self._apply(row, self._failed(kind, row, error))

    def _claim_all(self, pool: ThreadPoolExecutor) -> bool:
        """Claim and start what is due; False when no worker is left."""
        while not self._stopping.is_set():
            with self._held_lock:
                free = self._pace.workers - len(self._held)
            if free <= 0:
                return False
            rows = self._claim(free)
            if not rows:
                return True
            for row in rows:
                pool.submit(self._work, row)
        return True

    def _work(self, row: Row) -> None:
        try:
            self.step(row)
        except Exception:
            log.exception("the result of a step on %s could not be written; its lease will expire", row.id)
            with self._held_lock:
                self._held.pop(row.id, None)
        self._wake.set()

    def _claim(self, most: int) -> list[Row]:
        now = self._platform.clock()
        try:
            with self._platform.database.write() as connection:
                rows = resources.claim(connection, self._keys, now, str(uuid.uuid4()), self._pace.lease_s, most)
        except SQLAlchemyError as error:
            log.warning("nothing could be claimed: %s", error)
            return []
        with self._held_lock:
            self._held.update({row.id: row for row in rows})
        return rows

    def _apply(self, row: Row, step: Step) -> None:
        now = self._platform.clock()
        error = dict(step.error) if step.error else None
        with self._platform.database.write() as connection:
            if step.gone:
                # Once more in this transaction: something may have been made below while the step ran.
                if resources.lease_held(connection, row) and not self._await_below(connection, row, now):
                    hook = self._kinds[row.kind].deleted
                    operations.finish(connection, row.id, 1 << 40, error, now)
                    resources.remove(connection, row.id, now)
                    if hook is not None:
                        hook(connection, row, now)
            else:
                due_at = None if step.after is None else now + step.after
                retried = step.reason == _RETRY
                news = step.reason if not retried and step.reason != row.status.get("reason") else ""
                status = {**step.status, "reason": news} if news else step.status
                kept = resources.apply(
                    connection, row, status=status, state=step.state,
                    due_at=due_at, failures=row.failures + 1 if retried else 0, now=now, reason=news, ended=step.done,
                )  # fmt: skip
                if kept and step.writes is not None:
                    step.writes(connection)
                if kept and step.done:
                    operations.finish(connection, row.id, row.generation, error, now)
        with self._held_lock:
            self._held.pop(row.id, None)
        self._platform.hub.notify(row.id)

    def _waits_for_children(self, row: Row) -> bool:
        """A delete begins at the leaves: what stands above ends only when nothing is left below."""
        with self._platform.database.write() as connection:
            if not self._await_below(connection, row, self._platform.clock()):
                return False
        with self._held_lock:
            self._held.pop(row.id, None)
        self._platform.hub.notify(row.id)
        return True

    def _await_below(self, connection: Connection, row: Row, now: float) -> bool:
        """Whether something is left below; it is being deleted, and wakes the row when it is gone."""
        waiting = self._delete_below(connection, row, now)
        if waiting:
            resources.wait_for(connection, row.id, waiting)
            resources.apply(
                connection, row, status=row.status, state=row.state, due_at=now + self._pace.resync_s, failures=0, now=now,
                reason="", ended=False,
            )  # fmt: skip
        return bool(waiting)

    def _delete_below(self, connection: Connection, row: Row, now: float) -> list[str]:
        """Delete the stored rows below; mark the reconciled ones, which are returned."""
        waiting: list[str] = []
        for key in resources.children(connection, row.id):
            child = resources.get(connection, key)
            if child is None:
                continue
            if self._kinds[child.kind].reconcile is None and not self._delete_below(connection, child, now):
                self._remove_stored(connection, child, now)
                continue
            if not child.deleting and self._kinds[child.kind].reconcile is not None:
                resources.mark_deleting(connection, child, now, "smalt")
            waiting.append(child.id)
        return waiting

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

    def _pause(self) -> float:
        try:
            with self._platform.database.read() as connection:
                due = resources.next_due(connection, self._keys)
        except SQLAlchemyError:
            return 1.0
        if due is None:
            return self._pace.resync_s
        return min(max(due - self._platform.clock(), 0.0), self._pace.resync_s) + 0.001

    def _beat(self) -> None:
        while not self._stopping.wait(self._pace.lease_s / 3):
            with self._held_lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                with self._platform.database.write() as connection:
                    for row in held:
                        resources.extend(connection, row, self._platform.clock() + self._pace.lease_s)
            except SQLAlchemyError as error:
                log.warning("leases could not be extended: %s", error)


def _again(row: Row, after: float) -> Step:
    return Step(row.state, row.status, after=after, reason=_RETRY)
