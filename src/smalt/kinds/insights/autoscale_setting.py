"""`Microsoft.Insights/autoscaleSettings`: how many instances a deployment has, by metrics and by the calendar.

As `az monitor autoscale` and azure-mgmt-monitor send them (2015-04-01, 2022-10-01):
https://learn.microsoft.com/rest/api/monitor/autoscale-settings
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import MINYEAR, datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.kind import OURS, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.ports.serving import DEPLOYMENTS
from smalt.arm.scale import MOST, release
from smalt.arm.validation import Properties
from smalt.arm.zones import instant, zone
from smalt.kinds.insights.autoscaling import DAYS, EXACT, Fixed, Profile, Recurring, Rule
from smalt.kinds.insights.conditions import Condition, Dimension
from smalt.kinds.insights.metrics import INSIGHTS
from smalt.kinds.insights.rules import READ_METRICS, check_metric, found, whole_minutes
from smalt.sched import instances
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Lock, Row

AUTOSCALE = "microsoft.insights/autoscalesettings"
WRITE_DEPLOYMENT = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write"
_WINDOW_MOST_S = 12 * 3600
_STATISTICS = Literal["Average", "Min", "Max", "Sum", "Count"]


Number = Annotated[str, Field(pattern=r"^[0-9]{1,3}$")]  # as Azure writes them, and `az` insists on


class Capacity(Properties):
    minimum: Number
    maximum: Number
    default: Number


class RuleDimension(Properties):
    dimension_name: str = Field(alias="DimensionName")
    operator: Literal["Equals", "NotEquals"] = Field(alias="Operator")
    values: list[str] = Field(alias="Values")


class MetricTrigger(Properties):
    metric_name: str
    metric_resource_uri: str
    time_grain: str = "PT1M"
    statistic: _STATISTICS = "Average"
    time_window: str = "PT10M"
    time_aggregation: Literal["Average", "Minimum", "Maximum", "Total", "Count", "Last"] = "Average"
    operator: Literal["Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]
    threshold: float
    dimensions: list[RuleDimension] | None = None
    divide_per_instance: bool | None = None


class ScaleAction(Properties):
    direction: Literal["Increase", "Decrease"]
    type: Literal["ChangeCount", "PercentChangeCount", "ExactCount"]
    value: Number = "1"
    cooldown: str = "PT5M"


class ScaleRule(Properties):
    metric_trigger: MetricTrigger
    scale_action: ScaleAction


class TimeWindow(Properties):
    time_zone: str | None = None
    start: str
    end: str


class RecurrentSchedule(Properties):
    time_zone: str = "UTC"
    days: Annotated[list[str], Field(min_length=1, max_length=7)]
    hours: Annotated[list[Annotated[int, Field(ge=0, le=23)]], Field(min_length=1, max_length=24)]
    minutes: Annotated[list[Annotated[int, Field(ge=0, le=59)]], Field(min_length=1, max_length=60)]


class Recurrence(Properties):
    frequency: Literal["Week"]
    schedule: RecurrentSchedule


class ScaleProfile(Properties):
    name: str
    capacity: Capacity
    rules: list[ScaleRule] = Field(default_factory=list[ScaleRule], max_length=10)
    fixed_date: TimeWindow | None = None
    recurrence: Recurrence | None = None


class AutoscaleProperties(Properties):
    profiles: list[ScaleProfile] = Field(min_length=1, max_length=20)
    target_resource_uri: str
    enabled: bool | None = None
    notifications: list[dict[str, Any]] | None = None
    predictive_autoscale_policy: dict[str, Any] | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties: Document = {"enabled": True, **copy.deepcopy(request.body["properties"])}
    target = _target(request, connection, properties)
    if any(_tells(one) for one in properties.get("notifications") or ()):
        raise invalid(
            "properties.notifications: this platform sends no mail, and no webhook of an autoscale setting; leave them"
            " out. What it does is in the deployment's changes, and a metric alert can call a webhook.",
            "properties.notifications",
        )
    policy = part(properties, "predictiveAutoscalePolicy")
    if str(policy.get("scaleMode") or "Disabled") != "Disabled":
        raise invalid(
            "properties.predictiveAutoscalePolicy: nothing is predicted here; leave it out.",
            "properties.predictiveAutoscalePolicy",
        )
    for at, one in enumerate(profiles_of(properties)):
        _check_profile(one, f"properties.profiles.{at}.capacity")
        _check_gpus(request.platform, target, one, f"properties.profiles.{at}.capacity.maximum")
    _check_effect(properties["profiles"])
    for at, trigger in _triggers(properties):
        _check_metric(request, connection, trigger, at)
    others = [row for row in resources.by_lookup(connection, AUTOSCALE, target.id) if row.id != request.id.key]
    if others:
        raise conflict(f"The autoscale setting '{others[0].name}' decides about this deployment already.", "name")
    spec = {**request.body, "properties": properties, "location": request.body.get("location") or "local"}

    def writes(connection: Connection) -> None:
        if old is not None and (old.lookup != target.id or properties["enabled"] is False):
            _release(connection, old, request.now)

    return Admitted(spec, lookup=target.id, writes=writes)


def _tells(notification: Mapping[str, Any]) -> bool:
    """Whether somebody is to be told: `az` sends a notification that names nobody."""
    mail = part(notification, "email")
    return bool(notification.get("webhooks")) or any(
        mail.get(name)
        for name in ("customEmails", "sendToSubscriptionAdministrator", "sendToSubscriptionCoAdministrators")
    )


def _target(request: Request, connection: Connection, properties: Document) -> Row:
    """The deployment that is scaled, which the caller may change; its id in `properties` as it is written. Raises
    ArmError.

    It is locked: of two settings that are put for it at once, one sees the other.
    """
    field = "properties.targetResourceUri"
    row = found(request, connection, properties["targetResourceUri"], field, WRITE_DEPLOYMENT, Lock.WRITE)
    if row.kind != DEPLOYMENTS:
        raise invalid(f"{field}: only deployments of online endpoints are scaled here.", field)
    if part(row.properties, "scaleSettings").get("scaleType") == "TargetUtilization":
        raise conflict(f"Deployment '{row.name}' has scale settings of its own; give it Default ones first.", field)
    properties["targetResourceUri"] = row.written
    return row


def _check_metric(request: Request, connection: Connection, trigger: Document, at: str) -> None:
    row = found(request, connection, trigger["metricResourceUri"], f"{at}.metricResourceUri", READ_METRICS)
    names = [one["DimensionName"] for one in trigger.get("dimensions") or ()]
    check_metric(connection, row, trigger["metricName"], names, at)
    trigger["metricResourceUri"] = row.written


def _check_profile(one: Profile, field: str) -> None:
    if not (one.least <= one.default <= one.most and 1 <= one.most <= MOST):
        raise invalid(
            f"{field}: '{one.name[:80]}' must have minimum ≤ default ≤ maximum, and 1 ≤ maximum ≤ {MOST},"
            f" not {one.least}, {one.default}, {one.most}.",
            field,
        )


def _check_effect(profiles: Sequence[Mapping[str, Any]]) -> None:
    """Raises ArmError(400) for what would have no effect."""
    names = set[str]()
    for at, one in enumerate(profiles):
        field, name = f"properties.profiles.{at}", str(one["name"])
        if name.lower() in names:
            raise invalid(f"{field}.name: another profile before it is '{name[:80]}', too.", f"{field}.name")
        names.add(name.lower())
        if one.get("fixedDate") and one.get("recurrence"):
            raise invalid(f"{field}.recurrence: it has a fixed date; give one of the two.", f"{field}.recurrence")
        for number, rule in enumerate(one.get("rules") or ()):
            trigger, action = rule["metricTrigger"], rule["scaleAction"]
            of = f"{field}.rules.{number}"
            whole_minutes(trigger.get("timeGrain") or "PT1M", f"{of}.metricTrigger.timeGrain", _WINDOW_MOST_S)
            if not int(action.get("value") or 1) and action["type"] != EXACT:
                raise invalid(f"{of}.scaleAction.value: by 0 nothing changes.", f"{of}.scaleAction.value")


def _check_gpus(platform: Platform, deployment: Row, one: Profile, field: str) -> None:
    if part(deployment.spec, OURS).get("compute"):
        return  # its instances have machines of their own, as many as there are
    size, have = str(deployment.properties.get("instanceType") or ""), platform.engine.capacity().gpus
    if one.most > (most := instances.most(size, have)):
        raise invalid(
            f"{field}: '{one.name[:80]}' has a maximum of {one.most} instances of '{size}'; this machine"
            f" has {have} GPUs, for {most}.",
            field,
        )


def _triggers(properties: Mapping[str, Any]) -> list[tuple[str, Document]]:
    return [
        (f"properties.profiles.{at}.rules.{number}.metricTrigger", rule["metricTrigger"])
        for at, profile in enumerate(properties["profiles"])
        for number, rule in enumerate(profile.get("rules") or ())
    ]


def profiles_of(properties: Mapping[str, Any]) -> list[Profile]:
    """Raises ArmError(400)."""
    return [_profile(one, f"properties.profiles.{at}") for at, one in enumerate(properties["profiles"])]


def _profile(given: Mapping[str, Any], at: str) -> Profile:
    capacity = given["capacity"]
    rules = tuple(_rule(one, f"{at}.rules.{number}") for number, one in enumerate(given.get("rules") or ()))
    return Profile(
        given["name"],
        int(capacity["minimum"]),
        int(capacity["maximum"]),
        int(capacity["default"]),
        rules,
        _when(given, at),
    )


def _when(given: Mapping[str, Any], at: str) -> Fixed | Recurring | None:
    if fixed := given.get("fixedDate"):
        begin, end = (_moment(fixed, name, f"{at}.fixedDate") for name in ("start", "end"))
        if begin >= end:
            raise invalid(f"{at}.fixedDate.end: it is not after the start.", f"{at}.fixedDate.end")
        return Fixed(begin, end)
    if recurrence := given.get("recurrence"):
        schedule, field = recurrence["schedule"], f"{at}.recurrence.schedule"
        days = tuple(sorted({_day(one, f"{field}.days") for one in schedule["days"]}))
        times = sorted({(hour, minute) for hour in schedule["hours"] for minute in schedule["minutes"]})
        return Recurring(zone(schedule.get("timeZone") or "UTC", f"{field}.timeZone"), days, tuple(times))
    return None


def _day(name: str, field: str) -> int:
    spelled = name.strip().capitalize()
    if spelled not in DAYS:
        raise invalid(f"{field}: '{name[:40]}' is no day of the week, such as Monday.", field)
    return DAYS.index(spelled)


def _moment(fixed: Mapping[str, Any], name: str, at: str) -> float:
    try:
        local = datetime.fromisoformat(fixed[name])
    except ValueError:
        raise invalid(f"{at}.{name}: '{str(fixed[name])[:60]}' is no time in ISO 8601.", f"{at}.{name}") from None
    if local.tzinfo is not None and not fixed.get("timeZone"):
        return local.timestamp()
    where = zone(fixed.get("timeZone") or "UTC", f"{at}.timeZone")  # with a zone the time is one of its clocks
    try:
        return instant(local.replace(tzinfo=None), where).timestamp()
    except OverflowError:  # in UTC it is in the year 0 or 10000
        return float("-inf" if local.year == MINYEAR else "inf")


def _rule(given: Mapping[str, Any], at: str) -> Rule:
    trigger, action = given["metricTrigger"], given["scaleAction"]
    window_s = whole_minutes(trigger.get("timeWindow") or "PT10M", f"{at}.metricTrigger.timeWindow", _WINDOW_MOST_S)
    dimensions = tuple(
        Dimension(one["DimensionName"], tuple(one["Values"]), one["Operator"] == "NotEquals")
        for one in trigger.get("dimensions") or ()
    )
    condition = Condition(
        trigger["metricResourceUri"].lower(),
        trigger["metricName"],
        trigger.get("timeAggregation") or "Average",
        trigger["operator"],
        trigger["threshold"],
        window_s,
        dimensions,
        bool(trigger.get("dividePerInstance")),
    )
    cooldown = seconds_of(action.get("cooldown"), 300.0, f"{at}.scaleAction.cooldown")
    return Rule(condition, action["direction"], action["type"], int(action.get("value") or 1), cooldown)


def _release(connection: Connection, row: Row, now: float) -> None:
    release(connection, row.lookup or "", row.id, now)


def _view(platform: Platform, row: Row) -> Document:
    acted = part(row.status, "acted")
    return {"name": row.name, **({"lastScaleAction": acted["last"]} if "last" in acted else {})}


def rejected(properties: Mapping[str, Any]) -> str:
    """Why what is stored cannot be followed any more; empty: it can."""
    try:
        profiles_of(properties)
    except ArmError as error:
        return error.message
    return ""


def settings_of(rows: Sequence[Row]) -> dict[str, tuple[Row, list[Profile]]]:
    """By the deployment's id: those that are enabled."""
    enabled = [row for row in rows if row.properties.get("enabled") is not False and not rejected(row.properties)]
    return {str(row.lookup): (row, profiles_of(row.properties)) for row in enabled}


KIND = Kind(
    path="autoscaleSettings",
    title="autoscale setting",
    provider=INSIGHTS,
    tracked=True,
    properties=AutoscaleProperties,
    admit=_admit,
    view=_view,
    deleted=_release,
    delete_at_once=True,
)
