"""The feed of changes, told as events: each once, over restarts, by one of several servers, in a thread of its own.

A cursor in the database says how far it was told. It is moved after an event was taken, so what is killed between the
two is told again: a file is looked at first, and a URL gets the same event a second time, with the same run, type and
time. What cannot be told now is tried again without end, later and later; nothing else waits for it.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.platform import Platform
from smalt.openlineage.events import KINDS, Events
from smalt.openlineage.targets import NotTold, Refused, Target
from smalt.store import deliveries, feed
from smalt.store.database import Collision
from smalt.store.document import Document
from smalt.store.feed import Change, Cursor, NotACursor

log = logging.getLogger("smalt.openlineage")

NAME = "openlineage"
LEASE_S = 60.0
_LOOK_S = 15.0  # a hint may be lost
_AT_ONCE = 50
_KEPT_S = 600.0  # so often the cursor is written where nothing was to be told
_PAUSE_S, _PAUSE_MOST_S = 1.0, 300.0
_TOLD_AT = ("/jobs/", "/versions/")


class Delivery:
    """`run` until `stop`. From any thread: `stop`, `changed`."""

    def __init__(
        self, platform: Platform, target: Target, jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.0)
    ) -> None:
        self._platform, self._target, self._jitter = platform, target, jitter
        self._events = Events(platform)
        self._cursor: Cursor | None = None  # how far this server has read; None: it does not go on, or not yet
        self._claimed_at = float("-inf")
        self._moved_at = float("-inf")
        self._failures = 0
        self._woken, self._stopping = threading.Event(), threading.Event()

    def changed(self, key: str) -> None:
        if any(part in key for part in _TOLD_AT):
            self._woken.set()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            pause = self.look()
            if self._failures:  # news are no reason to try sooner
                self._stopping.wait(pause)
            elif pause:
                self._woken.wait(pause)

    def look(self) -> float:
        """Tell what there is; for how many seconds to wait then."""
        try:
            more = self._tell()
            self._failures = 0
            return 0.0 if more else _LOOK_S
        except NotTold as error:
            why = str(error)
        except (SQLAlchemyError, Collision) as error:  # the database is away: as for the loop
            why = str(error)
        except Exception:  # the edge: without this thread nothing is told any more
            log.exception("events could not be told")
            why = "see above"
        self._failures += 1
        pause = min(_PAUSE_S * 2 ** min(self._failures - 1, 16), _PAUSE_MOST_S) * self._jitter()
        log.warning("events could not be told (%s); tried again in %.0f s", why[:500], pause)
        self._cursor, self._claimed_at = None, float("-inf")  # where it was told to is in the database
        return pause

    def _tell(self) -> bool:
        """One page; whether there is more."""
        if not self._claimed():
            return False
        assert self._cursor is not None
        with self._platform.database.read() as connection:
            try:
                page = feed.after(connection, self._cursor, kinds=KINDS, most=_AT_ONCE)
            except NotACursor:
                log.warning("the cursor is of another database: what comes from now on is told")
                page = feed.Page([], feed.newest(connection), False)
                self._move(page.cursor)
        for change in page.changes:
            if not self._claimed() or not self._tell_one(change):
                return False
        self._cursor = page.cursor
        if self._platform.clock() >= self._moved_at + _KEPT_S:
            self._move(page.cursor)
        return page.more

    def _tell_one(self, change: Change) -> bool:
        """False: another server goes on."""
        events = self._of(change)
        if not events:
            return True
        for event in events:
            try:
                self._target.tell([event])
            except Refused as error:
                run, kind = event["run"]["runId"], event["eventType"]
                log.error("event %s of run %s is left out: %s", kind, run, error)
        return self._move(change.cursor)

    def _of(self, change: Change) -> list[Document]:
        try:
            with self._platform.database.read() as connection:
                return self._events.of(connection, change)
        except SQLAlchemyError:
            raise
        except Exception:  # the edge: a row that cannot be told must not hold up all that come after it
            log.exception("the change %s of %s is left out", change.after, change.resource_id)
            return []

    def _move(self, cursor: Cursor) -> bool:
        with self._platform.database.write() as connection:
            mine = deliveries.advance(connection, NAME, self._me, cursor)
        self._cursor = cursor if mine else None
        self._moved_at = self._platform.clock()
        return mine

    def _claimed(self) -> bool:
        """Whether this server goes on; it says so before its lease is over."""
        now, alone = self._platform.clock(), not self._platform.servers.me
        if self._cursor is not None and (alone or self._claimed_at <= now < self._claimed_at + LEASE_S / 2):
            return True
        with self._platform.database.write() as connection:
            kept = deliveries.claim(connection, NAME, self._me, now, LEASE_S)
        if kept is None or self._cursor is None:
            self._cursor = kept
        self._claimed_at = now
        return kept is not None

    @property
    def _me(self) -> str:
        return self._platform.servers.me or "alone"
