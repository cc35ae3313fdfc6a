"""Logs of all carried tasks: what is written to one that rested is appended in the store at once, and what comes then
as often as the store likes.

The kernel tells which folder was written to. Where it does not (`linux.watch_writes`), and for a store that keeps a
piece for each append, what is new is found by who asks now and then (`look`), as is what slipped through.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from smalt.agent import linux
from smalt.agent.beneath import made
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.crew import Crew
from smalt.engines.local.carry.follow import Followed

_LOG = logging.getLogger(__name__)
TICK_S = 0.5  # how often somebody asks
_THREADS = 8
_GATHER_S = 0.01  # in which more may be written: a task may write files of its own beside its log, and often
_EVENTS_BYTES = 64 << 10


class Scribe:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._crew = Crew("carry-logs", _THREADS)
        self._lock = threading.Lock()
        self._folders: dict[int, set[Followed]] = {}  # by the kernel's numbers
        self._busy: dict[Followed, bool] = {}  # being appended; whether more was written meanwhile
        self._resting: dict[Followed, float] = {}  # until when (monotonic); then each is looked at once more
        self._inotify = self._woken = self._wake = -1
        self._closed = False

    def follow(self, logs: Iterable[Followed]) -> None:
        """What is written to them is heard of from now on. Raises nothing."""
        with self._lock:
            if self._closed:
                return
            try:
                self._begin()
                for log in logs:
                    with made(log.folder, log.base) as folder:
                        self._folders.setdefault(linux.watch_writes(self._inotify, str(folder)), set()).add(log)
            except (OSError, RuntimeError) as error:  # such as a limit of the machine
                _LOG.info("logs are looked at every %g s: %s", TICK_S, error)

    def look(self, logs: Iterable[Followed]) -> None:
        """At what nobody has spoken of."""
        for log in logs:
            if log not in self._resting and log.grew():
                self._push(log)

    def leave(self, logs: Iterable[Followed]) -> None:
        gone = set(logs)
        with self._lock:
            for number in [number for number, here in self._folders.items() if here & gone]:
                self._folders[number] -= gone
                if not self._folders[number]:
                    del self._folders[number]
                    with suppress(OSError):  # the folder is gone, and its watch with it
                        linux.unwatch(self._inotify, number)
            for log in gone:
                self._resting.pop(log, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._look_again()
        self._crew.close()

    def _begin(self) -> None:
        """Raises OSError where the kernel gives no more of it, RuntimeError where it gives no thread."""
        if self._inotify >= 0:
            return
        try:
            self._inotify = linux.open_inotify()
            self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            threading.Thread(target=self._run, name="carry-written", daemon=True).start()
        except (OSError, RuntimeError):
            self._end()
            raise

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._inotify, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closed:
                selector.select(self._shortest_s())
                with suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                for log in self._written() | self._rested():
                    self._push(log)
                time.sleep(_GATHER_S)
        with self._lock:
            self._end()

    def _end(self) -> None:
        for descriptor in (self._inotify, self._woken, self._wake):
            if descriptor >= 0:
                os.close(descriptor)
        self._inotify = self._woken = self._wake = -1
        self._folders.clear()

    def _shortest_s(self) -> float | None:
        with self._lock:
            return max(0.0, min(self._resting.values()) - time.monotonic()) if self._resting else None

    def _written(self) -> set[Followed]:
        try:
            numbers = linux.watched(os.read(self._inotify, _EVENTS_BYTES))
        except BlockingIOError:
            return set()
        if self._carrier.append_every_s >= TICK_S:
            return set()
        with self._lock:
            written = {log for number in numbers for log in self._folders.get(number, ())}
            return written - self._resting.keys()

    def _rested(self) -> set[Followed]:
        now = time.monotonic()
        with self._lock:
            rested = {log for log, until in self._resting.items() if until <= now}
            for log in rested:
                del self._resting[log]
            return rested

    def _push(self, log: Followed) -> None:
        with self._lock:
            if self._closed:
                return
            under_way = log in self._busy
            self._busy[log] = under_way
        if under_way:
            return
        try:
            self._crew.submit(lambda: self._append(log))
        except RuntimeError:  # no thread can be started: who looks tries again
            with self._lock:
                self._busy.pop(log, None)

    def _append(self, log: Followed) -> None:
        begun, more = time.monotonic(), False
        try:
            more = log.grew() and log.push()
        except Exception:  # the edge: it is looked at again
            _LOG.exception("a log could not be followed")
        every_s, now = self._carrier.append_every_s, time.monotonic()
        with self._lock:
            more = self._busy.pop(log) or more
            if more and every_s < TICK_S and not self._closed:
                self._resting[log] = now + min(max(begun + every_s - now, now - begun), every_s)  # a slow one has rest
                self._look_again()

    def _look_again(self) -> None:
        if self._wake >= 0:
            with suppress(BlockingIOError):  # it is about to
                os.write(self._wake, b".")
