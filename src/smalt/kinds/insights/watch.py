"""Looks at alert rules and autoscale settings whenever numbers were written, and writes what changes: nothing else.

One of several servers does so. Which alerts have fired, since when a fired one's condition does not hold, and what
autoscale settings did, is in their rows: a restart, or another server, tells nothing twice and waits no longer.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm import occasions, scale
from smalt.arm.durations import seconds_of
from smalt.arm.envelope import timestamp
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.ports.serving import endpoint_of, route_name
from smalt.kinds.insights import autoscaling, conditions
from smalt.kinds.insights.action_group import receivers, schedules
from smalt.kinds.insights.autoscale_setting import AUTOSCALE, settings_of
from smalt.kinds.insights.autoscaling import DECREASE, INCREASE, Profile
from smalt.kinds.insights.common_schema import Met, notice
from smalt.kinds.insights.conditions import Condition
from smalt.kinds.insights.metric_alert import ALERTS, CALM, NOTICE, conditions_of, groups_of, notices_of
from smalt.store import changes, deliveries, resources
from smalt.store.changes import What
from smalt.store.database import Collision
from smalt.store.document import Document, part
from smalt.store.news import EVERYTHING
from smalt.store.resources import Lock, Row
from smalt.store.series import MINUTE

log = logging.getLogger("smalt.alerts")

_NAME = "watch"
_LEASE_S = 60.0
_RESYNC_S = 60.0  # a hint may be lost; and what lacks numbers is looked at so often
_CALM_LOOKS = 3  # so many times its frequency a fired alert's condition must not hold
_LITTLE_S = 900.0  # of a window that costs little to read
_NOTICES_MOST = 100  # of one alert that wait for receivers which do not answer


@dataclass(frozen=True)
class _Known:
    alerts: Mapping[str, Row]
    settings: Mapping[str, tuple[Row, list[Profile]]]


class Watch:
    """`run` in a thread of its own; `changed` and `recorded` from any."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._woken = threading.Event()
        self._stale = True
        self._read_at = float("-inf")
        self._claimed_at = float("-inf")
        self._known = _Known({}, {})
        self._looked: dict[str, tuple[int, float]] = {}  # at alerts: at which generation, and when

    def changed(self, key: str) -> None:
        """A hint of the hub."""
        if "/providers/microsoft.insights/" in key or key == EVERYTHING:
            self._stale = True

    def recorded(self) -> None:
        """Numbers were written."""
        self._woken.set()

    stop = recorded

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._woken.wait(_RESYNC_S)
            self._woken.clear()
            if not stopped.is_set():
                self.look()

    def look(self) -> None:
        """At all settings, and then at the alerts whose time has come: nothing is served by these."""
        try:
            if not self._mine():
                return
            self._read()
            for row, profiles in self._known.settings.values():
                self._guarded(row, partial(self._scale, row, profiles))
            for row in self._known.alerts.values():
                self._guarded(row, partial(self._judge, row))
        except (SQLAlchemyError, Collision) as error:
            log.warning("rules could not be looked at: %s", error)
        except Exception:  # the edge: without this thread no alert fires any more
            log.exception("rules could not be looked at")

    def _guarded(self, row: Row, look: partial[None]) -> None:
        try:
            look()
        except (SQLAlchemyError, Collision):
            raise
        except Exception:  # the edge: one rule must not hold up the others
            log.exception("%s could not be looked at", row.id)

    def _mine(self) -> bool:
        me, now = self._platform.servers.me, self._platform.clock()
        if not me or self._claimed_at <= now < self._claimed_at + _LEASE_S / 2:
            return True
        with self._platform.database.write() as connection:
            mine = deliveries.claim(connection, _NAME, me, now, _LEASE_S) is not None
        self._claimed_at = now if mine else float("-inf")
        return mine

    def _read(self) -> None:
        if not self._stale and time.monotonic() < self._read_at + _RESYNC_S:
            return
        self._stale, self._read_at = False, time.monotonic()
        try:
            with self._platform.database.read() as connection:
                alerts = resources.get_many(connection, resources.keys_of_kind(connection, ALERTS))
                settings = resources.get_many(connection, resources.keys_of_kind(connection, AUTOSCALE))
        except BaseException:
            self._stale = True
            raise
        looked = {key: row for key, row in alerts.items() if _enabled(row) or part(row.status, "fired")}
        self._known = _Known(looked, settings_of(list(settings.values())))
        self._looked = {key: at for key, at in self._looked.items() if key in looked}

    def _judge(self, row: Row) -> None:
        now = self._platform.clock()
        if not _enabled(row):  # since it fired
            self._turn(row, None, now)
            return
        frequency_s = seconds_of(row.properties["evaluationFrequency"], 60.0)
        generation, at = self._looked.get(row.id, (row.generation, float("-inf")))
        if generation == row.generation and at <= now < at + _pause_s(row, frequency_s):
            return
        self._looked[row.id] = (row.generation, now)
        with self._platform.database.read() as connection:
            met = self._met(connection, row, now)
        if not part(row.status, "fired"):
            if met is not None:
                self._turn(row, met, now)
            return
        calm_since = row.status.get(CALM)
        if (met is None) != (calm_since is not None):
            with self._platform.database.write() as connection:
                resources.merge_status(connection, row.id, {CALM: now if met is None else None})
            self._stale = True
        elif calm_since is not None and not 0 <= now - calm_since < _CALM_LOOKS * frequency_s:
            self._turn(row, None, now)

    @staticmethod
    def _met(connection: Connection, row: Row, now: float) -> Met | None:
        there = resources.get_many(connection, row.properties["scopes"])
        for scope in row.properties["scopes"]:
            if scope.lower() not in there:  # it was deleted since: silence means nothing
                continue
            parts = [
                (one, next((found for found in conditions.read(connection, one, now) if one.holds(found.value)), None))
                for one in conditions_of(row.properties, scope)
            ]
            held = [(one, found) for one, found in parts if found is not None]
            if len(held) == len(parts):
                return Met(scope, held)
        return None

    def _turn(self, known: Row, met: Met | None, now: float) -> None:
        """Fired, or resolved: once, with a notice for each receiver in the same transaction."""
        with self._platform.database.write() as connection:
            row = resources.get(connection, known.id, Lock.WRITE)
            self._stale = True
            if row is None or bool(part(row.status, "fired")) == (met is not None):
                return
            if met is not None:
                fired: Document = {"at": now, "id": str(uuid.uuid4()), "scope": met.scope, "reason": met.reason}
                if cause := _cause(connection, met.scope):
                    fired["cause"] = cause
                patch: Document = {"fired": fired}
                _run(connection, row, str(fired["id"]), now)
            else:
                fired, patch = part(row.status, "fired"), {"fired": None, CALM: None, "resolved_at": now}
            if met is not None or row.properties.get("autoMitigate") is not False:
                patch |= _notices(connection, row, fired, met, now)
                patch |= dict.fromkeys(list(notices_of({**row.status, **patch}))[:-_NOTICES_MOST])
            resources.merge_status(connection, row.id, patch)
            resources.poke(connection, [row.id], now)
            states = ("Resolved", "Fired") if met else ("Fired", "Resolved")
            changes.record(
                connection,
                row.id,
                *states,
                str(fired["reason"])[:500],
                now,
                what=What.STATE,
                kind=row.kind,
                generation=row.generation,
                due=True,
            )
        said = f"; last change: {fired['cause']}" if fired.get("cause") else ""
        log.warning("alert %s %s: %s%s", known.written, states[1].lower(), fired["reason"], said)

    def _scale(self, setting: Row, profiles: list[Profile]) -> None:
        now = self._platform.clock()
        with self._platform.database.read() as connection:
            target = resources.get(connection, setting.lookup or "")
            if target is None or target.deleting or not target.status.get("live"):
                return
            profile = autoscaling.current(profiles, now)
            if profile is None or part(target.properties, "scaleSettings").get("scaleType") == "TargetUtilization":
                return
            have = scale.count(target)
            acted = part(setting.status, "acted")
            times = {name: float(acted[name]) for name in (INCREASE, DECREASE) if name in acted}
            if woken := scale.decided(target).get("woken"):
                times[INCREASE] = max(times.get(INCREASE, woken), woken)
            live = len(target.status["live"]["addresses"])
            decision = autoscaling.decide(profile, partial(_value, connection, now, have), have, now, times, live)
        if decision.count == have and scale.governor(target) == setting.id:
            return
        if have and not decision.count and self._is_asked(target):
            return
        with self._platform.database.write() as connection:
            row = resources.get(connection, setting.id, Lock.WRITE)
            if row is None or row.generation != setting.generation:  # it may be disabled by now
                self._stale = True
                return
            scale.decide(connection, target.id, decision.count, now, setting.id)
            if decision.count != have:
                self._note(connection, setting, acted, decision, have, now)
        self._stale = True

    def _is_asked(self, target: Row) -> bool:
        """Whether requests are answered or wait there, or that is not known now: it must not fall asleep."""
        try:
            return bool(self._platform.gateway.in_flight().get(route_name(target.written)))
        except (NotReady, OSError):
            return True

    @staticmethod
    def _note(
        connection: Connection, setting: Row, acted: Document, decision: autoscaling.Decision, have: int, now: float
    ) -> None:
        said = f"from {have} to {decision.count} instances ({decision.profile}): {decision.reason}"[:500]
        direction = INCREASE if decision.count > have else DECREASE
        last = {"at": timestamp(now), "from": have, "to": decision.count, "reason": said}
        resources.merge_status(connection, setting.id, {"acted": {**acted, direction: now, "last": last}})
        changes.record(
            connection,
            setting.id,
            setting.state,
            setting.state,
            said,
            now,
            what=What.STATE,
            kind=setting.kind,
            generation=setting.generation,
        )


def _pause_s(row: Row, frequency_s: float) -> float:
    """Until the next look: as it says. One that asks for the shortest and reads little is looked at each time: what it
    watches for is then told within that minute."""
    little = seconds_of(row.properties["windowSize"], 300.0) <= _LITTLE_S
    return 0.0 if little and frequency_s <= MINUTE else frequency_s


def _enabled(row: Row) -> bool:
    return row.properties.get("enabled") is not False


def _value(connection: Connection, now: float, have: int, one: Condition) -> float | None:
    found = [each.value for each in conditions.read(connection, one, now)]
    if not found:
        return None
    return max(found) / max(have, 1) if one.divide else max(found)


def _cause(connection: Connection, scope: str) -> str:
    """What was written last of the endpoint that the scope is, or is of; empty where nothing was."""
    endpoint = endpoint_of(scope)
    found = changes.writes_below(connection, endpoint, 1) if endpoint else ()
    if not found:
        return ""
    one = found[0]
    what = f"deployment {one.key.rpartition('/')[2]}" if "/deployments/" in one.key else "traffic or keys"
    return f"{what} {one.what} by {one.actor or 'the platform'} at {timestamp(one.at)}"


def _run(connection: Connection, row: Row, who: str, now: float) -> None:
    """Have the schedules run that its action groups name: each once, in the transaction that says that it fired."""
    for group, _ in groups_of(connection, row.properties):
        for one in schedules(group.properties):
            if not occasions.ask(connection, one, who, now):
                log.error("alert %s fired; there is no schedule %s any more", row.written, one)


def _notices(connection: Connection, row: Row, fired: Document, met: Met | None, now: float) -> Document:
    """By their keys, which follow each other in time."""
    found = [
        {
            "uri": one["serviceUri"],
            "receiver": one["name"],
            "tries": 0,
            "again_at": now,
            "body": notice(row, fired, met, now, more),
        }
        for group, more in groups_of(connection, row.properties)
        for one in receivers(group.properties)
    ]
    return {f"{NOTICE}{now:.3f} {at:03d}": one for at, one in enumerate(found)}
