"""Autoscale settings: what they may say, which profile holds, what their rules decide, and that deployments follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.deployments import BLUE, come_up, deploy
from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.arm.scale import count as count_of
from smalt.arm.scale import decided, governor, wake
from smalt.kinds.insights.autoscale_setting import profiles_of
from smalt.kinds.insights.autoscaling import Fixed, Profile, Recurring, Rule, current, decide
from smalt.kinds.insights.conditions import Condition
from smalt.kinds.insights.watch import Watch
from smalt.metrics.names import CPU_PART
from smalt.metrics.recorder import Recorder
from smalt.store import resources

KIND = "microsoft.insights/autoscalesettings"
SETTING = EXAMPLES[KIND].url
CPU = Condition("/x", "CpuUtilizationPercentage", "Average", "GreaterThan", 70, 300)
IDLE = replace(CPU, operator="LessThan", threshold=25)
OUT = Rule(CPU, "Increase", "ChangeCount", 1, 300)
IN = Rule(IDLE, "Decrease", "ChangeCount", 1, 300)
PROFILE = Profile("default", 1, 4, 1, (OUT, IN))


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def count(value: float | None, have: int, now: float = 1000, profile: Profile = PROFILE, **acted: float) -> int:
    return decide(profile, lambda one: value, have, now, acted).count


def test_out_and_in_within_the_limits_and_after_the_cooldown() -> None:
    assert count(80, 1) == 2 and count(80, 4) == 4 and count(50, 2) == 2
    assert count(80, 2, Increase=900) == 2 and count(80, 2, Increase=600) == 3
    assert count(10, 3) == 2 and count(10, 1) == 1 and count(10, 3, Increase=900) == 3
    assert count(50, 9) == 4 and count(50, 0) == 1


def test_not_in_where_it_would_lead_out_again() -> None:
    assert count(24, 3) == 2
    flapping = replace(PROFILE, rules=(OUT, replace(IN, condition=replace(IDLE, threshold=60))))
    assert count(50, 2, profile=flapping) == 2  # one would have 100 %


def test_in_only_where_all_say_so() -> None:
    other = replace(IN, condition=replace(IDLE, metric="RequestsPerMinute", threshold=5))
    both = replace(PROFILE, rules=(OUT, IN, other))
    values = {"CpuUtilizationPercentage": 10.0, "RequestsPerMinute": 50.0}
    assert decide(both, lambda one: values[one.metric], 3, 1000, {}).count == 3
    values["RequestsPerMinute"] = 1.0
    assert decide(both, lambda one: values[one.metric], 3, 1000, {}).count == 2


def test_not_in_while_some_are_still_to_come_up() -> None:
    assert decide(PROFILE, lambda one: 10.0, 3, 1000, {}, live=2).count == 3
    assert decide(PROFILE, lambda one: 10.0, 3, 1000, {}, live=3).count == 2
    assert decide(PROFILE, lambda one: 80.0, 3, 1000, {}, live=2).count == 4


def test_the_default_where_no_metric_can_be_read() -> None:
    profile = replace(PROFILE, default=2)
    assert count(None, 1, profile=profile) == 2 and count(None, 3, profile=profile) == 3
    assert count(None, 0, profile=replace(profile, least=0)) == 0


@pytest.mark.parametrize(
    ("type_", "value", "have", "then"), [("PercentChangeCount", 50, 4, 6), ("ExactCount", 3, 1, 3)]
)
def test_by_a_part_or_to_a_number(type_: str, value: int, have: int, then: int) -> None:
    assert count(80, have, profile=Profile("p", 1, 10, 1, (Rule(CPU, "Increase", type_, value, 0),))) == then


def test_a_fixed_date_before_what_recurs_before_what_holds_always() -> None:
    always = Profile("always", 1, 1, 1)
    day = Profile("day", 2, 2, 2, when=Recurring(UTC, (0, 1, 2, 3, 4), ((8, 0),)))
    night = Profile("night", 1, 1, 1, when=Recurring(UTC, (0, 1, 2, 3, 4), ((18, 30),)))
    sale = Profile("sale", 9, 9, 9, when=Fixed(at("2026-11-27T00:00"), at("2026-11-28T00:00")))
    every = [always, day, night, sale]
    names = [("2026-11-26T07:59", "night"), ("2026-11-26T08:00", "day"), ("2026-11-26T18:30", "night")]
    names += [("2026-11-27T09:00", "sale"), ("2026-11-29T12:00", "night")]  # on a Sunday what began on Friday
    for when, name in names:
        found = current(every, at(when))
        assert found is not None and found.name == name, when
    assert current([always], 0.0) is always and current([sale], 0.0) is None


def body(**properties: Any) -> dict[str, Any]:
    return EXAMPLES[KIND].body(**properties)


def changed(path: str, value: Any) -> dict[str, Any]:
    made = body()
    made["properties"]["profiles"] = [_copy(one) for one in made["properties"]["profiles"]]
    here: Any = made["properties"]
    *above, last = path.split(".")
    for name in above:
        here = here[int(name)] if name.isdigit() else here[name]
    here[last] = value
    return made


def _copy(given: Any) -> Any:
    if isinstance(given, dict):
        return {key: _copy(value) for key, value in given.items()}
    return [_copy(one) for one in given] if isinstance(given, list) else given


RULE = "profiles.0.rules.0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("targetResourceUri", "/nowhere"),
        ("targetResourceUri", EXAMPLES["workspaces/onlineendpoints"].url),
        ("notifications", [{"operation": "Scale", "email": {"customEmails": ["a@b.example"]}}]),
        ("predictiveAutoscalePolicy", {"scaleMode": "Enabled"}),
        ("profiles.0.capacity", {"minimum": "3", "maximum": "2", "default": "2"}),
        ("profiles.0.capacity.maximum", "51"),
        (f"{RULE}.metricTrigger.metricName", "Percentage CPU"),
        (f"{RULE}.metricTrigger.metricResourceUri", f"{BLUE}-none"),
        (f"{RULE}.metricTrigger.operator", "Above"),
        (f"{RULE}.metricTrigger.timeWindow", "PT90S"),
        (f"{RULE}.scaleAction.type", "ServiceAllowedNextValue"),
        (f"{RULE}.scaleAction.cooldown", "soon"),
        ("profiles.0.fixedDate", {"start": "2026-12-02", "end": "2026-12-01", "timeZone": "UTC"}),
        ("profiles.0.fixedDate", {"start": "once", "end": "2026-12-01"}),
        ("profiles.0.recurrence", "both"),
        ("profiles.1.name", "the same"),
        (f"{RULE}.metricTrigger.timeGrain", "never"),
        (f"{RULE}.metricTrigger.dimensions", [{"DimensionName": "colour", "Operator": "Equals", "Values": ["*"]}]),
        (f"{RULE}.scaleAction.value", "0"),
    ],
)
def test_wrong_settings_are_refused_and_the_field_is_named(harness: Harness, path: str, value: Any) -> None:
    prepare(harness, KIND)
    given = changed(path, value) if value not in ("both", "the same") else body()
    (profile,) = given["properties"]["profiles"]
    if value == "both":
        fixed = {"start": "2026-12-01", "end": "2026-12-02"}
        schedule = {"timeZone": "UTC", "days": ["Monday"], "hours": [8], "minutes": [0]}
        again = {**profile, "fixedDate": fixed, "recurrence": {"frequency": "Week", "schedule": schedule}}
        given = body(profiles=[again])
    elif value == "the same":
        given = body(profiles=[profile, profile])
    answer = harness.put(SETTING, given)
    assert answer.status_code == 400, answer.text
    target = answer.json()["error"]["target"]
    assert target.startswith(f"properties.{path}") or f"properties.{path}".startswith(f"{target}."), answer.text


def test_numbers_are_text_in_answers_as_clients_insist(harness: Harness) -> None:
    prepare(harness, KIND)
    given = changed("profiles.0.capacity", {"minimum": 1, "maximum": 3, "default": 2})
    (profile,) = harness.put(SETTING, given).json()["properties"]["profiles"]
    assert profile["capacity"] == {"minimum": "1", "maximum": "3", "default": "2"}
    assert profile["rules"][0]["scaleAction"]["value"] == "1"


def test_a_notification_of_nobody_is_taken(harness: Harness) -> None:
    prepare(harness, KIND)
    nobody = {"customEmails": [], "sendToSubscriptionAdministrator": False, "sendToSubscriptionCoAdministrators": False}
    given = body(notifications=[{"operation": "scale", "email": nobody, "webhooks": []}])
    assert harness.put(SETTING, given).status_code == 201


def test_a_recurrence_names_days_and_a_zone(harness: Harness) -> None:
    prepare(harness, KIND)
    schedule = {"timeZone": "W. Europe Standard Time", "days": ["Monday", "friday"], "hours": [8], "minutes": [0]}
    good = changed("profiles.0.recurrence", {"frequency": "Week", "schedule": schedule})
    assert harness.put(SETTING, good).status_code == 201
    many = (("hours", [8] * 25), ("minutes", [0] * 61), ("days", ["Monday"] * 8))
    for field, value in (("timeZone", "Mars"), ("days", ["Someday"]), *many):
        wrong = changed("profiles.0.recurrence", {"frequency": "Week", "schedule": {**schedule, field: value}})
        answer = harness.put(SETTING, wrong)
        assert answer.status_code == 400 and field in answer.json()["error"]["target"]


def test_of_one_deployment_one_setting_decides(harness: Harness) -> None:
    prepare(harness, KIND)
    assert harness.put(SETTING, body()).status_code == 201
    assert harness.put(f"{SETTING}-two", body()).status_code == 409
    own = {"scaleType": "TargetUtilization", "minInstances": 1, "maxInstances": 2}
    harness.send("DELETE", SETTING)
    deploy(harness, scaleSettings=own)
    assert harness.put(SETTING, body()).status_code == 409


class Site:
    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.recorder = Recorder(harness.clock)
        self.watch = Watch(harness.platform)
        harness.platform.hub.follow(self.watch.changed)
        prepare(harness, KIND)
        come_up(harness)
        deploy(harness)
        come_up(harness)

    def use(self, percent: float) -> None:
        self.recorder.record(BLUE, CPU_PART.name, percent, {"instance": "i0"})
        self.recorder.flush(self.harness.database)
        self.watch.recorded()
        self.watch.look()
        self.harness.settle()
        come_up(self.harness)

    @property
    def capacity(self) -> int:
        return int(self.harness.get(BLUE).json()["sku"]["capacity"])


def test_the_deployment_follows_and_keeps_what_it_has_when_the_setting_goes(harness: Harness) -> None:
    site = Site(harness)
    harness.put(SETTING, body())
    site.use(95)
    assert site.capacity == 2 and governor(harness.row(BLUE)) == SETTING.lower()
    site.use(95)
    assert site.capacity == 2, "within the cooldown"
    harness.clock.pass_(301)
    site.use(95)
    assert site.capacity == 3
    last = harness.get(SETTING).json()["properties"]["lastScaleAction"]
    assert (last["from"], last["to"]) == (2, 3) and "CpuUtilizationPercentage is 95" in last["reason"]
    assert harness.send("DELETE", SETTING).status_code == 200
    harness.settle()
    assert site.capacity == 3 and not governor(harness.row(BLUE))
    deploy(harness, capacity=1)
    come_up(harness)
    assert site.capacity == 1


def test_a_setting_that_is_disabled_decides_nothing(harness: Harness) -> None:
    site = Site(harness)
    harness.put(SETTING, body(enabled=False))
    site.use(95)
    assert site.capacity == 1 and not governor(harness.row(BLUE))


def test_times_that_are_said_twice_are_kept_once() -> None:
    schedule = {"days": ["Monday", "monday"], "hours": [8, 7, 8], "minutes": [30, 30]}
    (one,) = profiles_of(changed("profiles.0.recurrence", {"frequency": "Week", "schedule": schedule})["properties"])
    assert isinstance(one.when, Recurring) and (one.when.days, one.when.times) == ((0,), ((7, 30), (8, 30)))


@pytest.mark.parametrize("zone", ["Pacific Standard Time", "Tokyo Standard Time", "UTC"])
def test_a_date_from_ever_or_for_ever_is_taken(harness: Harness, zone: str) -> None:
    prepare(harness, KIND)
    dates = {"start": "0001-01-01T00:00:00", "end": "9999-12-31T23:59:00", "timeZone": zone}
    made = changed("profiles.0.fixedDate", dates)
    assert harness.put(SETTING, made).status_code == 201
    assert current(profiles_of(made["properties"]), 0.0) is not None


def test_a_setting_that_is_disabled_later_lets_its_deployment_go(harness: Harness) -> None:
    site = Site(harness)
    harness.put(SETTING, body())
    site.use(95)
    assert governor(harness.row(BLUE)) == SETTING.lower()
    assert harness.put(SETTING, body(enabled=False)).status_code == 200
    assert not governor(harness.row(BLUE)) and site.capacity == 2
    deploy(harness, capacity=3)
    come_up(harness)
    assert site.capacity == 3


def test_scale_settings_of_its_own_end_what_another_decided(harness: Harness) -> None:
    site = Site(harness)
    harness.put(SETTING, body())
    site.use(95)
    deploy(harness, scaleSettings={"scaleType": "TargetUtilization", "minInstances": 1, "maxInstances": 4})
    assert not governor(harness.row(BLUE)) and decided(harness.row(BLUE))["count"] == 2


@pytest.mark.parametrize("spelled", ["{}/", "azureml:{}"])
def test_ids_are_kept_as_the_platform_writes_them(harness: Harness, spelled: str) -> None:
    site = Site(harness)
    given = changed(f"{RULE}.metricTrigger.metricResourceUri", spelled.format(BLUE))
    given["properties"]["targetResourceUri"] = spelled.format(BLUE)
    said = harness.put(SETTING, given).json()["properties"]
    trigger = said["profiles"][0]["rules"][0]["metricTrigger"]
    assert trigger["metricResourceUri"] == said["targetResourceUri"] == BLUE
    site.use(95)
    assert site.capacity == 2


def test_of_two_settings_that_are_put_at_once_one_waits_for_the_other(harness: Harness, monkeypatch: Any) -> None:
    prepare(harness, KIND)
    asked: list[tuple[str, resources.Lock | None]] = []
    real = resources.get

    def get(connection: Any, key: str, lock: resources.Lock | None = None) -> Any:
        asked.append((key, lock))
        return real(connection, key, lock)

    monkeypatch.setattr(resources, "get", get)
    assert harness.put(SETTING, body()).status_code == 201
    assert (BLUE.lower(), resources.Lock.WRITE) in asked


def test_who_is_woken_stays_until_it_has_answered_and_was_idle_for_the_cooldown(harness: Harness) -> None:
    site = Site(harness)
    trigger = {
        "metricName": "RequestsPerMinute",
        "metricResourceUri": BLUE,
        "operator": "LessThan",
        "threshold": 1,
        "timeAggregation": "Total",
        "timeWindow": "PT1M",
    }
    idle = {"metricTrigger": trigger, "scaleAction": {"direction": "Decrease", "type": "ChangeCount"}}
    made = changed("profiles.0.rules", [idle])
    made["properties"]["profiles"][0]["capacity"] = {"minimum": "0", "maximum": "3", "default": "0"}
    assert harness.put(SETTING, made).status_code == 201

    def wanted(after_s: float = 10) -> int:
        harness.clock.pass_(after_s)
        site.watch.look()
        harness.settle()
        return count_of(harness.row(BLUE))

    assert wanted() == 0
    harness.clock.pass_(3600)
    with harness.database.write() as connection:
        wake(connection, harness.row(BLUE), harness.clock())
    harness.settle()
    assert wanted() == 1 and governor(harness.row(BLUE)) == SETTING.lower()
    assert wanted(600) == 1, "the model is still loaded"
    with harness.database.write() as connection:
        wake(connection, harness.row(BLUE), harness.clock())
    come_up(harness)
    assert wanted() == 1, "within the cooldown"
    harness.gateway.active = {("churn-scores", "blue"): 1}
    assert wanted(301) == 1, "a request is answered"
    harness.gateway.active = {}
    assert wanted() == 0


def test_a_maximum_for_which_there_are_no_gpus_is_refused(harness: Harness) -> None:
    prepare(harness, KIND)
    harness.engine.fit(gpus=3)
    deploy(harness, instanceType="Standard_NC12s_v3")
    answer = harness.put(SETTING, changed("profiles.0.capacity", {"minimum": "1", "maximum": "2", "default": "1"}))
    assert answer.status_code == 400 and answer.json()["error"]["target"] == "properties.profiles.0.capacity.maximum"
    assert "2 instances of 'Standard_NC12s_v3'; this machine has 3 GPUs, for 1" in answer.text
    one = changed("profiles.0.capacity", {"minimum": "1", "maximum": "1", "default": "1"})
    assert harness.put(SETTING, one).status_code in (200, 201)
