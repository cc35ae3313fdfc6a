"""What an endpoint was: which traffic, which deployments ran what, and since when; and the way back.

Each endpoint and deployment keeps what it said before its last changes (`status.before`, oldest first: the spec, and
when that was replaced), and what these were (`status.changed`). A rollback takes the newest of the former back, so that
a second one goes further; it is a change itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from smalt.arm.crud import Answer
from smalt.arm.durations import seconds_of
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.kind import Document, Request
from smalt.arm.ports.serving import DEPLOYMENTS
from smalt.metrics.names import LATENCY, REQUESTS
from smalt.store import changes, operations, resources, series
from smalt.store.changes import What
from smalt.store.document import part
from smalt.store.resources import Lock, Row
from smalt.store.series import MINUTE, Point

BEFORE, CHANGED = "before", "changed"
_KEPT, _CHANGES_KEPT = 10, 50
_KEPT_BYTES = 64 << 10  # of each of the two: a status is read at every step. What is longer is kept alone
_SPAN_S, _SPAN_MOST_S = 3600.0, 86400.0
_TOLD = ("from ", "a replica died")  # reasons of steps that change what runs
_TRAFFIC = ("traffic", "mirrorTraffic")
_SHOWN = 20  # differences of one change
Check = Callable[[Connection, Request, Mapping[str, Any]], None]  # raises ArmError for traffic that cannot be


@dataclass(frozen=True)
class Past:
    """What `row` said until `at`."""

    row: Row
    at: float
    spec: Document


def remember(connection: Connection, old: Row, spec: Mapping[str, Any], now: float, by: str) -> None:
    """In the transaction that replaces `old.spec` by `spec`; nothing where that changes nothing that is served."""
    if _served(old, old.spec) == _served(old, spec):
        return
    kept = _newest([*old.status.get(BEFORE, []), {"at": now, "spec": _kept(old)}], _KEPT)
    resources.merge_status(connection, old.id, {BEFORE: kept, **_noted(old, spec, now, by, "updated")})


def _noted(old: Row, spec: Mapping[str, Any], now: float, by: str, what: str) -> Document:
    """For the status: what the change is."""
    change = differences(_served(old, old.spec), _served(old, spec))
    told = {"at": now, "by": by, "what": what, "change": change}
    return {CHANGED: _newest([*old.status.get(CHANGED, []), told], _CHANGES_KEPT)}


def _newest(listed: list[Document], most: int) -> list[Document]:
    """The last one, and of those before it as many as may be kept."""
    kept: list[Document] = []
    left = _KEPT_BYTES
    for one in reversed(listed[-most:]):
        left -= len(json.dumps(one))
        if kept and left < 0:
            break
        kept.append(one)
    return kept[::-1]


def _kept(row: Row) -> Document:
    """All of a deployment; of an endpoint its traffic."""
    if row.kind == DEPLOYMENTS:
        return dict(row.spec)
    return {"properties": {name: row.properties.get(name) or {} for name in _TRAFFIC}}


def _served(row: Row, spec: Mapping[str, Any]) -> Document:
    properties = part(spec, "properties")
    if row.kind == DEPLOYMENTS:
        return {**properties, "sku": spec.get("sku")}
    return {name: properties.get(name) or {} for name in _TRAFFIC}


def _pasts(row: Row) -> list[Past]:
    return [Past(row, float(one["at"]), dict(one["spec"])) for one in row.status.get(BEFORE, ())]


def history(check: Check) -> Callable[..., tuple[int, Any]]:
    """GET: changes and what they did, the minutes of latency and answers, on one axis, and what a rollback would do.

    Raises ArmError(400). `check` as `rollback` takes it.
    """

    def run(request: Request, row: Row | None) -> tuple[int, Any]:
        assert row is not None
        span_s = seconds_of(request.query.get("timespan"), _SPAN_S, "timespan")
        if not MINUTE <= span_s <= _SPAN_MOST_S:
            raise invalid("timespan: a duration from PT1M to P1D is possible.", "timespan")
        since, until = int(request.now - span_s), int(request.now) + 1
        with request.platform.database.read() as connection:
            below = resources.get_many(connection, resources.children(connection, row.id, DEPLOYMENTS))
            rows = [row, *below.values()]
            told = [one for one in _changes(connection, row, rows) if one["at"] >= since]
            names = [LATENCY.name, REQUESTS.name]
            numbers = series.read(connection, [one.id for one in rows], names, MINUTE, since - MINUTE, until)
            ways = [_way(connection, request, row, rows[1:], check, name) for name in _ways(rows)]
        told.sort(key=lambda one: one["at"])
        shown = [{**one, "at": timestamp(one["at"])} for one in told]
        return 200, {"value": shown, "minutes": list(_minutes(numbers)), "rollbacks": ways}

    return run


def _ways(rows: list[Row]) -> list[str | None]:
    """Of a rollback: without a name, and of each deployment."""
    return [None, *(one.name for one in rows[1:] if not one.deleting)]


def _way(
    connection: Connection, request: Request, endpoint: Row, below: list[Row], check: Check, name: str | None
) -> Document:
    """What a rollback (of the deployment `name`) would change, or `refused`: why there can be none."""
    of = {"deployment": name} if name else {}
    try:
        past = _last(endpoint, below, name)
        spec = _wanted(connection, request, past, check)
    except ArmError as error:
        return {**of, "refused": error.message}
    change = differences(_served(past.row, past.row.spec), _served(past.row, spec))
    return {**_named(endpoint, past.row.id), **of, "undone": timestamp(past.at), "change": change}


def _changes(connection: Connection, endpoint: Row, rows: list[Row]) -> Iterator[Document]:
    for one in rows:
        for told in one.status.get(CHANGED, ()):
            yield {**told, **_named(endpoint, one.id)}
        if one is not endpoint:
            for event in changes.newest(connection, one.id):
                if event.after == "Failed" or event.reason.startswith(_TOLD):
                    yield {
                        "at": event.at,
                        **_named(endpoint, one.id),
                        "what": "state",
                        "change": [event.reason or event.after],
                    }
    for write in changes.writes_below(connection, endpoint.id, 200):
        if write.what != What.UPDATED:
            yield {"at": write.at, **_named(endpoint, write.key), "what": write.what, "by": write.actor, "change": []}


def _named(endpoint: Row, key: str) -> Document:
    return {"deployment": key.rpartition("/")[2]} if key != endpoint.id else {}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """One line for each value that is another; what variables hold is not repeated."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and not path.endswith("raffic"):
        old, new = cast("Document", before), cast("Document", after)
        found = [
            line
            for name in dict.fromkeys([*old, *new])
            for line in differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
        ]
        return found[:_SHOWN]
    if before == after:
        return []
    if path.startswith("environmentVariables"):
        return [f"{path} is another"]
    return [f"{path}: {_said(before)} → {_said(after)}"]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {share}" for name, share in value.items()) or "none"  # pyright: ignore
    text = "none" if value is None else str(value)
    _, slash, asset = text.partition("/workspaces/")  # of an id, what is in the workspace
    return (asset.partition("/")[2] if slash and text.startswith("/subscriptions/") else text)[:200]


def _minutes(numbers: Mapping[series.Key, Mapping[int, Point]]) -> Iterator[Document]:
    latency, answers, failed = dict[int, Point](), dict[int, float](), dict[int, float]()
    for key, points in numbers.items():
        for at, point in points.items():
            if key.name == LATENCY.name:
                latency.setdefault(at, Point()).merge(point)
            else:
                answers[at] = answers.get(at, 0) + point.sum
                if dict(key.labels).get("statusCodeClass") == "5xx":
                    failed[at] = failed.get(at, 0) + point.sum
    for at in sorted({*latency, *answers}):
        point = latency.get(at, Point())
        quantiles = {f"p{part}": point.quantile(part / 100) for part in (50, 95, 99)}
        yield {"at": timestamp(at), "requests": answers.get(at, 0), "failed": failed.get(at, 0), **quantiles}


def rollback(check: Check) -> Callable[..., tuple[int, Any]]:
    """POST: what was before the last change of traffic, or of a deployment that takes some, is wanted again.

    `deployment` in the body: before the last change of that one. `undone`: when that change was, as `history` tells it;
    it is refused where another is the last now, as when somebody else has rolled back already.
    """

    def run(request: Request, row: Row | None) -> tuple[int, Any]:
        assert row is not None
        with request.platform.database.write() as connection:
            below = resources.get_many(connection, resources.children(connection, row.id, DEPLOYMENTS))
            past = _last(row, list(below.values()), request.body.get("deployment"))
            if (told := request.body.get("undone")) not in (None, timestamp(past.at)):
                raise conflict(f"The last change is not that of {str(told)[:40]} any more: {_since(past)}", "undone")
            current = resources.get(connection, past.row.id, Lock.WRITE)
            if current is None or current.deleting or _pasts(current)[-1:] != [Past(current, past.at, past.spec)]:
                raise conflict("It was changed at this moment. Look at its history, and try again.", "name")
            spec = _wanted(connection, request, Past(current, past.at, past.spec), check)
            resources.replace_spec(
                connection,
                current,
                spec,
                state="Updating",
                now=request.now,
                by=request.principal.name,
                due=True,
                reason="rolled back",
            )
            kept = current.status[BEFORE][:-1]
            noted = _noted(current, spec, request.now, request.principal.name, "rolled back")
            resources.merge_status(connection, current.id, {BEFORE: kept or None, **noted})
            operation = operations.begin(connection, current.id, "rollback", current.generation + 1, request.now)
        request.platform.hub.notify(current.id)
        change = differences(_served(current, current.spec), _served(current, spec))
        body = {"id": current.written, **_named(row, current.id), "undone": timestamp(past.at), "change": change}
        return 202, Answer(202, body, {}, operation)

    return run


def _since(past: Past) -> str:
    return f"it is that of {timestamp(past.at)} now. Somebody has changed it, or rolled it back. Look at its history."


def _last(endpoint: Row, below: list[Row], deployment: Any) -> Past:
    """Raises ArmError(409) where there is no way back, ArmError(400) where there is no such deployment."""
    takes = {name.lower() for name, share in (endpoint.properties.get("traffic") or {}).items() if share}
    if deployment is not None:
        rows = [one for one in below if one.name.lower() == str(deployment).lower()]
        if not rows:
            raise invalid(f"deployment: the endpoint has no deployment '{str(deployment)[:80]}'.", "deployment")
    else:
        rows = [endpoint, *(one for one in below if one.name.lower() in takes)]
    found = [past for one in rows if not one.deleting for past in _pasts(one)[-1:]]
    if not found:
        raise ArmError(409, "NothingToRollBack", "No earlier traffic or deployment of it is known.", "name")
    return max(found, key=lambda one: one.at)


def _wanted(connection: Connection, request: Request, past: Past, check: Check) -> Document:
    """What `past.row` is to say then. Raises ArmError(409) where that is traffic which cannot be any more."""
    row, spec = past.row, past.spec
    if row.kind == DEPLOYMENTS:
        return spec
    spec = {**row.spec, "properties": {**row.properties, **spec["properties"]}}
    try:
        check(connection, request, spec["properties"])
    except ArmError as error:
        change = "; ".join(differences(_served(row, row.spec), _served(row, spec)))
        message = (
            f"What was before its last change ({change}) cannot be again: {error.message} Set the traffic instead."
        )
        raise ArmError(409, "RollbackImpossible", message, error.target) from None
    return spec
