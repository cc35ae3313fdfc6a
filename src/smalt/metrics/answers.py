"""What deployments answered, as the gateway counted it, becomes series: each answer once, whoever is killed meanwhile.

A deployment whose replicas change is made anew in the gateway, and counts under another name (its *make*). The gateway
tells of a make before it goes (`told`), and of all that there are whenever it is asked (`look`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from sqlalchemy import Connection, select

from smalt.arm.platform import Platform
from smalt.arm.ports import Counted, Traffic
from smalt.arm.ports.serving import DEPLOYMENTS, Where, route_name
from smalt.metrics.counters import Counters, flat, kept, since
from smalt.metrics.names import (
    CONNECTED,
    CONNECTIONS,
    LATENCY,
    MODEL_STATUS,
    NETWORK,
    REQUESTS,
    STATUS,
    STATUS_CLASS,
)
from smalt.metrics.recorder import Recorder
from smalt.store import series
from smalt.store.series import MINUTE, Key, Point
from smalt.store.spread import GROWTH
from smalt.store.tables import resource

_CODE = "="  # before an answer's status: bounds are plain numbers
_OVERFLOW, _TIMEOUT, _BROKEN = "429", "408", "502"  # as clients read what the gateway answers
_FAILED, _MODEL_FAILED = "424", "500"  # the scoring script failed: what clients read, and the script's own status
_UNAVAILABLE = "503"  # no instance has answered, or none whose model is loaded
Points = dict[tuple[Key, int], Point]


class Answers:
    """`host` tells this server's marks from those of others. `told` is thread-safe; one thread calls the rest."""

    def __init__(self, platform: Platform, recorder: Recorder, host: str) -> None:
        self._platform = platform
        self._recorder = recorder
        self._host = host
        self._lock = threading.Lock()
        self._process = ""
        self._told: dict[tuple[Where, str], Traffic] = {}
        self._connected: set[Where] = set()
        self._looked_at = platform.clock()

    def told(self, process: str, found: Counted) -> None:
        """Of makes that are about to go; it is kept until `settle`."""
        with self._lock:
            if process != self._process:
                self._process, self._told = process, {}
            for where, makes in found.items():
                self._told |= {(where, make): traffic for make, traffic in makes.items()}

    def concerned(self) -> set[str]:
        """The ids of the deployments that something was told of."""
        with self._lock:
            told = {where for where, _ in self._told}
        if not told:
            return set()
        with self._platform.database.read() as connection:
            return {scope for where, scope in deployments(connection).items() if where in told}

    def settle(self) -> set[str]:
        """Take over what was told. The ids of the deployments that had answered something since the last time."""
        with self._lock:
            process, told = self._process, dict(self._told)
        if not told:
            return set()
        found: dict[Where, dict[str, Traffic]] = {}
        for (where, make), traffic in told.items():
            found.setdefault(where, {})[make] = traffic
        served = self._take_over(process, found, whole=False)
        with self._lock:
            self._told = {key: one for key, one in self._told.items() if one is not told.get(key)}
        return served

    def look(self) -> set[str]:
        """Take over what was counted since the last time; returns as `settle`. Raises NotReady as the gateway does."""
        process, counted = self._platform.gateway.traffic()
        now = self._platform.clock()
        served = self._take_over(process, counted, whole=True)
        self._looked_at = now  # also where nothing came: what comes next has not come since before
        self._note_connections(counted)
        return served

    def _note_connections(self, counted: Counted) -> None:
        """Once more of those that had some."""
        found = {where: sum(one.connections for one in makes.values()) for where, makes in counted.items()}
        found = {where: number for where, number in found.items() if number or where in self._connected}
        if found:
            with self._platform.database.read() as connection:
                scopes = deployments(connection)
            for where in found.keys() & scopes.keys():
                self._recorder.record(scopes[where], CONNECTIONS.name, found[where])
        self._connected = {where for where, number in found.items() if number}

    def _take_over(self, process: str, counted: Counted, whole: bool) -> set[str]:
        """`whole`: what is not among it is gone."""
        found = {where: {make: _counters(one) for make, one in makes.items()} for where, makes in counted.items()}
        names = {where: f"{self._host} {'/'.join(where)}" for where in found}
        if not found:
            return set()
        with self._platform.database.read() as connection:
            marks = series.taken_over(connection, list(names.values()), process)
        before = {where: kept(marks.get(name, {})) for where, name in names.items()}
        after = {where: _after(before[where], makes, whole) for where, makes in found.items()}
        changed = [where for where in found if after[where] != before[where]]
        if not changed:
            return set()
        with self._platform.database.write() as connection:
            scopes, points = deployments(connection), Points()
            now = self._platform.clock()
            minute, took_s = int(now // MINUTE) * MINUTE, max(now - self._looked_at, 1.0)
            for where in changed:
                if (scope := scopes.get(where)) is not None:
                    counted_since = _points(scope, since(before[where], found[where]), took_s)
                    points |= {(key, minute): point for key, point in counted_since}
            series.add(connection, points)
            series.take_over(connection, {names[where]: flat(after[where]) for where in changed}, process)
        self._recorder.note(points)
        return {key.scope for key, _ in points}


def _after(before: Mapping[str, Counters], found: Mapping[str, Counters], whole: bool) -> dict[str, Counters]:
    """The mark of a deployment. The last make that is gone stays in it: it may still be told of."""
    others = [(make, one) for make, one in before.items() if make not in found]
    return dict(others[-1:] if whole else others) | dict(found)


def _counters(one: Traffic) -> dict[str, float]:
    codes = {f"{_CODE}{code}": count for code, count in one.codes.items()}
    return {
        **codes,
        "sum": one.sum_ms,
        "bytes": one.sum_bytes,
        "connected": one.connected,
        "overflows": one.overflows,
        "timeouts": one.timeouts,
        "broken": one.broken,
        "repeated": one.repeated,
        **{f"{bound:g}": count for bound, count in one.buckets.items()},
    }


def _points(scope: str, new: Counters, took_s: float) -> list[tuple[Key, Point]]:
    """What came since the last look, `took_s` ago: answers by status, how long they took, and how much they were."""
    found: list[tuple[Key, Point]] = []
    rest = dict(new)
    codes = {name.removeprefix(_CODE): rest.pop(name) for name in new if name.startswith(_CODE)}
    for status, count in _of_the_gateway(rest, codes).items():
        if count:
            found.append(_answers(scope, status, count, ""))
    for code, count in codes.items():
        if count:
            found.append(_answers(scope, code, count, _of_the_model(code)))
    total = rest.pop("sum", 0.0)
    for metric, amount in ((NETWORK, rest.pop("bytes", 0.0)), (CONNECTED, rest.pop("connected", 0.0))):
        if rate := amount / took_s:
            found.append((Key(scope, metric.name), Point(1, rate, rate, rate, rate)))
    buckets = {float(bound): int(value) for bound, value in rest.items()}
    if count := sum(buckets.values()):
        point = Point(count, total, min(buckets) / GROWTH, max(buckets), total / count, buckets)
        found.append((Key(scope, LATENCY.name), point))
    return found


def _of_the_gateway(rest: dict[str, float], codes: dict[str, float]) -> dict[str, float]:
    """How often the gateway itself answered, by the status that clients read; taken out of `rest`, and out of `codes`,
    where it is counted as 503 or 504: a timeout only where the replica had not said that it works on the request."""
    overflows = min(rest.pop("overflows", 0.0), codes.get("503", 0.0))
    timeouts = rest.pop("timeouts", 0.0)
    broken = max(rest.pop("broken", 0.0) - rest.pop("repeated", 0.0), 0.0)
    for counted, count in (("503", overflows), ("504", timeouts)):
        if counted in codes:
            codes[counted] = max(codes[counted] - count, 0.0)
    return {_OVERFLOW: overflows, _TIMEOUT: timeouts, _BROKEN: broken}


def _answers(scope: str, code: str, count: float, of_the_model: str) -> tuple[Key, Point]:
    """`of_the_model`: the status that the model gave; empty: it was not asked, or did not answer."""
    labels = ((MODEL_STATUS, of_the_model),) if of_the_model else ()
    key = Key(scope, REQUESTS.name, (*labels, (STATUS, code), (STATUS_CLASS, f"{code[:1]}xx")))
    return key, Point(int(count), count, 1, 1, 1)


def _of_the_model(code: str) -> str:
    return {_FAILED: _MODEL_FAILED, _UNAVAILABLE: ""}.get(code, code)


def deployments(connection: Connection) -> dict[Where, str]:
    """Ids by the names that Envoy knows."""
    rows = connection.execute(select(resource.c.id, resource.c.written).where(resource.c.kind == DEPLOYMENTS))
    return {route_name(row.written): row.id for row in rows}
