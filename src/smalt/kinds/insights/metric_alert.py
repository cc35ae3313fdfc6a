"""`Microsoft.Insights/metricAlerts`: rules on metrics of endpoints, deployments and jobs, which fire and are resolved.

As `az monitor metrics alert create` and azure-mgmt-monitor send them (2018-03-01):
https://learn.microsoft.com/rest/api/monitor/metric-alerts. Who looks: `watch.py`; who tells: the step below.

`status`: `fired` (since when, why, who looks after it), `calm_since` (of a fired one: since when its condition does not
hold), and a key for each notice that a receiver has not been told yet. A notice is out of it as soon as it is told,
whatever else becomes of the step. Who is told twice, because the server was killed in between, hears the same
`Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import TELLING, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.kinds.insights.action_group import ACTION_GROUPS, refused
from smalt.kinds.insights.conditions import Condition, Dimension
from smalt.kinds.insights.metrics import INSIGHTS
from smalt.kinds.insights.rules import READ_METRICS, check_metric, found, whole_minutes
from smalt.store import changes, resources
from smalt.store.changes import What
from smalt.store.document import part
from smalt.store.resources import Lock, Row

_log = logging.getLogger("smalt.alerts")
NOTICE = "notice "  # how the keys of a status begin that are notices
CALM = "calm_since"
ALERTS = "microsoft.insights/metricalerts"
SINGLE = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
MULTIPLE = "Microsoft.Azure.Monitor.MultipleResourceMultipleMetricCriteria"
_WINDOW_MOST_S = 24 * 3600
_FREQUENCY_MOST_S = 3600
_TIMEOUT_S = 5.0  # to connect, and for each piece
_DEADLINE_S = 10.0  # for all of it
_PAUSE_S, _PAUSE_MOST_S = 1.0, 300.0
_TRIES = 8  # over some four minutes; then this receiver does not hear of it
_FIELD = "properties.criteria"


class AlertDimension(Properties):
    name: str
    operator: Literal["Include", "Exclude"]
    values: Annotated[list[str], Field(min_length=1)]


class Criterion(Properties):
    name: str
    metric_name: str
    criterion_type: str = "StaticThresholdCriterion"
    operator: Literal["Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]
    threshold: float
    time_aggregation: Literal["Average", "Minimum", "Maximum", "Total", "Count"]
    dimensions: list[AlertDimension] | None = None


class Criteria(Properties):
    all_of: list[Criterion] = Field(min_length=1, max_length=5)


class AlertAction(Properties):
    action_group_id: str
    web_hook_properties: dict[str, str] | None = None


class AlertProperties(Properties):
    severity: int = Field(3, ge=0, le=4)
    enabled: bool | None = None
    scopes: list[str] = Field(min_length=1, max_length=20)
    evaluation_frequency: str = "PT1M"
    window_size: str = "PT5M"
    criteria: Criteria
    auto_mitigate: bool | None = None
    actions: list[AlertAction] | None = None
    description: str | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties: Document = {"severity": 3, "enabled": True, "autoMitigate": True, **request.body["properties"]}
    properties.setdefault("evaluationFrequency", "PT1M")
    properties.setdefault("windowSize", "PT5M")
    every = whole_minutes(properties["evaluationFrequency"], "properties.evaluationFrequency", _FREQUENCY_MOST_S)
    if whole_minutes(properties["windowSize"], "properties.windowSize", _WINDOW_MOST_S) < every:
        message = "it is shorter than evaluationFrequency, so what comes between two looks would not be seen."
        raise invalid(f"properties.windowSize: {message}", "properties.windowSize")
    criteria = properties["criteria"]
    kind = str(criteria.get("odata.type") or SINGLE)
    if kind not in (SINGLE, MULTIPLE):
        raise invalid(f"{_FIELD}: '{kind[:120]}' is not known; use {SINGLE}.", f"{_FIELD}.odata.type")
    rows = [
        found(request, connection, one, f"properties.scopes.{at}", READ_METRICS)
        for at, one in enumerate(properties["scopes"])
    ]
    for at, one in enumerate(criteria["allOf"]):
        field = f"{_FIELD}.allOf.{at}"
        if one.get("criterionType", "StaticThresholdCriterion") != "StaticThresholdCriterion":
            raise invalid(
                f"{field}.criterionType: thresholds are given here, none is learned.", f"{field}.criterionType"
            )
        for row in rows:
            names = [each["name"] for each in one.get("dimensions") or ()]
            check_metric(connection, row, one["metricName"], names, field)
    properties["scopes"] = [row.written for row in rows]
    if properties.get("actions"):
        properties["actions"] = [
            {**one, "actionGroupId": _group(request, connection, one, f"properties.actions.{at}.actionGroupId").written}
            for at, one in enumerate(properties["actions"])
        ]
    spec = {**request.body, "properties": properties, "location": request.body.get("location") or "global"}
    return Admitted(spec)


def _group(request: Request, connection: Connection, action: Mapping[str, Any], field: str) -> Row:
    row = found(request, connection, action["actionGroupId"], field, f"{INSIGHTS}/actionGroups/read")
    if row.kind != ACTION_GROUPS:
        raise invalid(f"{field}: this is no action group.", field)
    return row


def conditions_of(properties: Mapping[str, Any], scope: str) -> list[Condition]:
    """Of one of its scopes: all have to hold."""
    window_s = whole_minutes(properties["windowSize"], "properties.windowSize", _WINDOW_MOST_S)
    return [
        Condition(
            scope.lower(),
            one["metricName"],
            one["timeAggregation"],
            one["operator"],
            one["threshold"],
            window_s,
            tuple(
                Dimension(each["name"], tuple(each["values"]), each["operator"] == "Exclude")
                for each in one.get("dimensions") or ()
            ),
        )
        for one in properties["criteria"]["allOf"]
    ]


def _reconcile(platform: Platform, row: Row) -> Step:
    """Tell one receiver of one notice; the next at once, one that does not take it later, and in the end not."""
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    now, status = platform.clock(), dict(row.status)
    waiting = notices_of(status)
    due = next((key for key, one in waiting.items() if one["again_at"] <= now), "")
    if due:
        left = _tell(platform, f"{row.id} {due}", waiting.pop(due), now)
        status.pop(due)
        with (
            platform.database.write() as connection
        ):  # a step's own result is dropped where the rule was changed meanwhile
            resources.merge_status(connection, row.id, {due: left})
        if left is not None:
            status[due] = waiting[due] = left
    after = max(min(one["again_at"] for one in waiting.values()) - now, 0.0) if waiting else None
    return Step("Succeeded", status, done=True, after=after)


def notices_of(status: Mapping[str, Any]) -> dict[str, Document]:
    """Those that are not told yet, oldest first. Each is a key of its own: what comes while one is told stays."""
    return {key: dict(status[key]) for key in sorted(status) if key.startswith(NOTICE)}


def _tell(platform: Platform, key: str, notice: Document, now: float) -> Document | None:
    """What is left to do of it."""
    why = refused(platform.settings, notice["uri"])
    if not why:
        if not (why := _post(notice["uri"], key, notice["body"])):
            return None
        tries = notice["tries"] + 1
        if tries < _TRIES:
            return {**notice, "tries": tries, "again_at": now + min(_PAUSE_S * 2**tries, _PAUSE_MOST_S)}
    _log.error("an alert could not be told to receiver %s: %s", notice["receiver"], why)
    return None


def _post(uri: str, key: str, body: Document) -> str:
    """Why it was not taken; empty: it was. Nothing of the answer is read, and no redirect is followed."""
    try:
        status = asyncio.run(_status_of(uri, key, body))
        return "" if status < 300 else f"it answered {status}"
    except TimeoutError:
        return f"it did not answer within {_DEADLINE_S:g} s"
    except httpx.HTTPError as error:
        return type(error).__name__
    except httpx.InvalidURL:
        return "this is no URL"


async def _status_of(uri: str, key: str, body: Document) -> int:
    headers = {"Idempotency-Key": str(uuid.uuid5(uuid.NAMESPACE_URL, key))}
    async with (
        asyncio.timeout(_DEADLINE_S),
        httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", uri, json=body, headers=headers) as answer,
    ):
        return answer.status_code


def _status(request: Request, row: Row | None) -> tuple[int, Any]:
    """As Azure answers it."""
    assert row is not None
    fired = part(row.status, "fired")
    at = float(fired.get("at") or row.status.get("resolved_at") or row.changed_at)
    said = {"dimensions": {}, "status": "Unhealthy" if fired else "Healthy", "timestamp": timestamp(at)}
    shown = {"name": row.name, "id": f"{row.written}/status", "type": f"{INSIGHTS}/metricAlerts/status"}
    return 200, {"value": [{**shown, "properties": said}]}


def _acknowledge(request: Request, row: Row | None) -> tuple[int, Any]:
    """Somebody looks after it: who, and since when. It goes on to be fired until its conditions do not hold.

    `firedDateTime` of the body: when it fired, as whoever asks has seen it. Raises ArmError(409) where it fired anew
    since, and where somebody else looks after it already.
    """
    assert row is not None
    with request.platform.database.write() as connection:
        current = resources.get(connection, row.id, Lock.WRITE)
        fired = part(current.status, "fired") if current is not None else {}
        if not fired:
            raise ArmError(409, "AlertNotFired", f"Alert '{row.name}' is not fired: nothing waits for anybody.", "name")
        if request.body.get("firedDateTime") not in (None, timestamp(float(fired["at"]))):
            message = (
                f"Alert '{row.name}' fired anew at {timestamp(float(fired['at']))}: see why before you look after it."
            )
            raise ArmError(409, "AlertFiredAnew", message, "firedDateTime")
        told = fired.get("acknowledged")
        if told and told["by"] != request.principal.name:
            message = f"{told['by']} looks after alert '{row.name}' since {timestamp(float(told['at']))}."
            raise ArmError(409, "AlertAcknowledged", message, "name")
        if not told:
            told = {"at": request.now, "by": request.principal.name}
            resources.merge_status(connection, row.id, {"fired": {**fired, "acknowledged": told}})
            changes.record(
                connection,
                row.id,
                "Fired",
                "Fired",
                f"acknowledged by {request.principal.name}",
                request.now,
                what=What.STATE,
                kind=row.kind,
                generation=row.generation,
            )
        found = resources.get(connection, row.id)
    assert found is not None
    return 200, _view(request.platform, found)


def _listed(row: Row, query: Mapping[str, str]) -> bool:
    """`scope`: of rules that look at this resource or what is in it. `monitorCondition`: that are `Fired`, or not."""
    wanted, condition = query.get("scope", "").lower(), query.get("monitorCondition", "").lower()
    if condition and (condition == "fired") != bool(part(row.status, "fired")):
        return False
    return not wanted or any(f"{one.lower()}/".startswith(f"{wanted}/") for one in row.properties["scopes"])


def _view(platform: Platform, row: Row) -> Document:
    """What Azure has in its list of alerts stands here, too."""
    fired = part(row.status, "fired")
    condition = {"monitorCondition": "Fired" if fired else "Resolved"}
    if fired:
        condition |= {"firedDateTime": timestamp(float(fired["at"])), "firedReason": fired["reason"]}
    if cause := fired.get("cause"):
        condition["lastChange"] = cause
    if told := fired.get("acknowledged"):
        condition |= {"acknowledgedBy": told["by"], "acknowledgedDateTime": timestamp(float(told["at"]))}
    return {"alertState": condition}


def groups_of(connection: Connection, properties: Mapping[str, Any]) -> list[tuple[Row, Document]]:
    """The action groups that there are, each with what the alert adds for it."""
    listed = [(one["actionGroupId"].lower(), part(one, "webHookProperties")) for one in properties.get("actions") or ()]
    rows = resources.get_many(connection, [key for key, _ in listed])
    return [(rows[key], more) for key, more in listed if key in rows]


KIND = Kind(
    path="metricAlerts",
    title="metric alert",
    provider=INSIGHTS,
    tracked=True,
    properties=AlertProperties,
    admit=_admit,
    reconcile=_reconcile,
    view=_view,
    actions={"status": Action(_status, method="GET"), "acknowledge": Action(_acknowledge)},
    list_filter=_listed,
    put_status=200,  # azure-mgmt-monitor takes no 201
    delete_at_once=True,
    lane=TELLING,
)
