"""Looks at how busy deployments with scale settings are, and says how many instances they are to have.

One question to the gateway for all that are due. Rows are read when something says that they changed; one is written
when the number of instances is to be another. What was seen is in memory: a server that starts anew waits for a
whole calm time before it takes instances away.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.ports.serving import DEPLOYMENTS, route_name
from smalt.arm.scale import decide
from smalt.kinds.serving import scaling
from smalt.kinds.serving.scaling import Limits, Trend
from smalt.store import resources
from smalt.store.database import Collision
from smalt.store.news import EVERYTHING
from smalt.store.resources import Row

log = logging.getLogger("smalt.scaling")

_RESYNC_S = 60.0  # a hint may be lost


@dataclass
class _Watched:
    where: tuple[str, str]  # endpoint and deployment, as the gateway calls them
    limits: Limits
    at_once: int
    count: int
    here: bool
    next_at: float = 0.0
    trend: Trend = field(default_factory=Trend)


class Scaler:
    """`run` in a thread of its own; `changed` from any."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._watched: dict[str, _Watched] = {}
        self._read_all_at = float("-inf")
        self._woken = threading.Event()

    def changed(self, key: str) -> None:
        """A hint of the hub."""
        if "/onlineendpoints/" in key or key == EVERYTHING:
            with self._lock:
                self._changed.add(key)
            self._woken.set()

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._woken.clear()
            try:
                pause = self.look()
            except (SQLAlchemyError, Collision, NotReady, OSError) as error:
                log.warning("loads could not be looked at: %s", error)
                pause = 1.0
            except Exception:  # the edge: without this thread nothing is scaled any more
                log.exception("loads could not be looked at")
                pause = 1.0
            self._woken.wait(pause)

    def stop(self) -> None:
        self._woken.set()

    def look(self) -> float:
        """At those that are due; for how many seconds to wait then. Raises NotReady while the gateway is away."""
        self._read()
        now = time.monotonic()
        due = [key for key, one in self._watched.items() if one.here and one.next_at <= now]
        if due:
            in_flight = self._platform.gateway.in_flight()
            for key in due:
                one = self._watched[key]
                one.next_at = now + one.limits.poll_s
                self._guarded(key, partial(self._judge, key, one, in_flight.get(one.where, 0)))
        nexts = [one.next_at for one in self._watched.values() if one.here]
        return min([_RESYNC_S, *(max(at - time.monotonic(), 0.01) for at in nexts)])

    def _guarded(self, key: str, look: partial[None]) -> None:
        try:
            look()
        except (SQLAlchemyError, Collision):
            raise
        except Exception:  # the edge: one deployment must not hold up the others
            log.exception("%s could not be looked at", key)

    def _judge(self, key: str, one: _Watched, in_flight: int) -> None:
        needed = scaling.wanted(in_flight, one.at_once, one.limits)
        calm_s = self._platform.settings.scale_in_after_s
        count = one.trend.decide(self._platform.clock(), needed, one.count, calm_s)
        if count == one.count:
            return
        with self._platform.database.write() as connection:
            decide(connection, key, count, self._platform.clock())
        log.info("%s: %d requests in flight, %d instances wanted", key, in_flight, count)
        one.count = count

    def _read(self) -> None:
        """What changed since the last time; all, now and then."""
        with self._lock:
            keys, self._changed = self._changed, set()
        every = EVERYTHING in keys or time.monotonic() >= self._read_all_at + _RESYNC_S
        if not every and not keys:
            return
        try:
            with self._platform.database.read() as connection:
                wanted = set(resources.keys_of_kind(connection, DEPLOYMENTS)) if every else keys
                rows = resources.get_many(connection, wanted)
        except BaseException:
            with self._lock:
                self._changed |= keys
            raise
        if every:
            self._read_all_at = time.monotonic()
            self._watched = {key: one for key, one in self._watched.items() if key in rows}
        for key in wanted:
            self._guarded(key, partial(self._note, key, rows.get(key)))

    def _note(self, key: str, row: Row | None) -> None:
        limits = scaling.limits_of(row.properties) if row and row.kind == DEPLOYMENTS and not row.deleting else None
        live = (row.status.get("live") or {}) if row else {}
        if row is None or limits is None or not live:
            self._watched.pop(key, None)
            return
        here = live.get("server") in (None, "", self._platform.servers.me)
        found = _Watched(route_name(row.written), limits, int(live["max_concurrent"]), scaling.count(row), here)
        if before := self._watched.get(key):
            found.next_at, found.trend = before.next_at, before.trend
        self._watched[key] = found
