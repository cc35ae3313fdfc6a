"""Deployments that have as many instances as their load needs, none where nothing is asked of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fakes.deployments import BLUE, KEY, come_up, deploy, live, traffic
from fakes.examples import prepare
from fakes.platform import Harness
from smalt.arm.errors import ArmError
from smalt.arm.scale import decide, decided
from smalt.kinds.serving import scaling
from smalt.kinds.serving.scaler import Scaler
from smalt.kinds.serving.scaling import Limits, Trend, checked, wanted

HALF = Limits(1, 4, 0.5, 1.0)
WHERE = ("churn-scores", "blue")


def test_as_many_as_the_requests_in_flight_need() -> None:
    assert [wanted(count, 1, HALF) for count in (0, 1, 2, 3, 100)] == [1, 2, 4, 4, 4]
    assert [wanted(count, 4, HALF) for count in (0, 2, 3, 8)] == [1, 1, 2, 4]
    assert wanted(0, 1, Limits(0, 4, 0.5, 1.0)) == 0


def test_out_at_once_and_in_after_a_calm_time_to_the_most_that_was_needed_in_it() -> None:
    trend = Trend()
    assert trend.decide(0, 3, 1, 60) == 3
    assert trend.decide(30, 2, 3, 60) == 3
    assert trend.decide(59, 1, 3, 60) == 3
    assert trend.decide(61, 1, 3, 60) == 2  # two were needed half a minute ago
    assert trend.decide(91, 1, 2, 60) == 1
    assert trend.decide(92, 4, 1, 60) == 4


def test_a_clock_that_is_set_back_begins_a_new_calm_time() -> None:
    trend = Trend()
    trend.decide(1000, 1, 3, 60)
    assert trend.decide(10, 1, 3, 60) == 3 and trend.decide(69, 1, 3, 60) == 3
    assert trend.decide(71, 1, 3, 60) == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"minInstances": -1}, "minInstances"),
        ({"minInstances": 3, "maxInstances": 2}, "minInstances"),
        ({"maxInstances": 0}, "maxInstances"),
        ({"maxInstances": 51}, "maxInstances"),
        ({"targetUtilizationPercentage": 0}, "targetUtilizationPercentage"),
        ({"targetUtilizationPercentage": "many"}, "targetUtilizationPercentage"),
        ({"pollingInterval": "PT0S"}, "pollingInterval"),
        ({"pollingInterval": "1"}, "pollingInterval"),
        ({"scaleType": "Sometimes"}, "scaleType"),
    ],
)
def test_wrong_settings_are_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ArmError) as refused:
        checked({"scaleType": "TargetUtilization", **given})
    assert refused.value.target == f"properties.scaleSettings.{field}" and refused.value.status == 400


def test_what_is_left_out_has_a_default() -> None:
    found = scaling.limits_of({"scaleSettings": checked({"scaleType": "target_utilization", "maxInstances": 3})})
    assert found == Limits(1, 3, 0.7, 1.0)
    assert scaling.limits_of({"scaleSettings": checked(None)}) is None


class Site:
    """One deployment that scales itself."""

    def __init__(self, harness: Harness, **settings: Any) -> None:
        self.harness = harness
        self.scaler = Scaler(harness.platform)
        harness.platform.hub.follow(self.scaler.changed)
        prepare(harness, KEY)
        given = {"scaleType": "TargetUtilization", "pollingInterval": "PT1S", "targetUtilizationPercentage": 50}
        deploy(harness, scaleSettings={**given, **settings})
        come_up(harness)

    def look(self, in_flight: int, after_s: float = 1.0) -> None:
        self.harness.clock.pass_(after_s)
        self.harness.gateway.active = {WHERE: in_flight}
        for one in self.scaler._watched.values():
            one.next_at = 0.0
        self.scaler.look()
        self.harness.settle()

    @property
    def capacity(self) -> int:
        return int(self.harness.get(BLUE).json()["sku"]["capacity"])

    @property
    def addresses(self) -> list[str]:
        (one,) = self.harness.gateway.route("churn-scores").deployments
        return list(one.addresses)


def test_it_grows_with_its_load_and_shrinks_when_it_is_calm(harness: Harness) -> None:
    site = Site(harness, minInstances=1, maxInstances=2)
    assert site.capacity == 1
    site.look(8)
    assert site.capacity == 1 and len(live(harness)) == 2  # one that does not answer yet does not count
    come_up(harness)
    assert site.capacity == 2 and len(site.addresses) == 2
    site.look(0)
    assert site.capacity == 2
    site.look(0, after_s=61)
    assert site.capacity == 1 and len(site.addresses) == 1 and len(live(harness)) == 1
    reasons = [one["reason"] for one in harness.get(f"{BLUE}/events").json()["value"]]
    assert "from 1 to 2 instances" in reasons and "from 2 to 1 instances" in reasons
    assert harness.get(BLUE).json()["properties"]["provisioningState"] == "Succeeded"


def test_instances_that_are_too_many_end_after_the_gateway_sends_them_nothing(harness: Harness) -> None:
    site = Site(harness, minInstances=1, maxInstances=2)
    site.look(8)
    come_up(harness)
    harness.gateway.lagging = True
    site.look(0)
    site.look(0, after_s=61)
    assert len(site.addresses) == 1 and len(live(harness)) == 2
    harness.gateway.lagging = False
    harness.clock.pass_(40)
    harness.settle()
    assert len(live(harness)) == 1


def test_what_was_decided_holds_over_restarts_and_updates(harness: Harness) -> None:
    site = Site(harness, minInstances=1, maxInstances=3)
    site.look(2)
    come_up(harness)
    given = {"scaleType": "TargetUtilization", "minInstances": 1, "maxInstances": 3, "targetUtilizationPercentage": 50}
    deploy(harness, scaleSettings=given, environmentVariables={"RELEASE": "2"})
    come_up(harness)
    assert site.capacity == 3
    deploy(harness, capacity=2)
    come_up(harness)
    assert len(site.addresses) == 2 and site.capacity == 2


def test_with_least_none_it_sleeps_and_requests_go_to_who_wakes_it(harness: Harness) -> None:
    site = Site(harness, minInstances=0, maxInstances=2)
    assert site.capacity == 1  # it has to come up once
    traffic(harness, blue=100)
    site.look(0)
    site.look(0, after_s=61)
    assert site.capacity == 0 and not live(harness)
    assert site.addresses == [f"unix:{harness.settings.asleep_socket}"]
    assert harness.get(BLUE).json()["properties"]["provisioningState"] == "Succeeded"
    assert traffic(harness, blue=100).status_code == 201
    with harness.database.write() as connection:
        assert decide(connection, BLUE.lower(), 1, harness.clock())
    harness.settle()
    come_up(harness)
    assert site.capacity == 1 and site.addresses[0].startswith("unix:/run/srv-")


def test_an_update_of_what_sleeps_has_to_come_up(harness: Harness) -> None:
    site = Site(harness, minInstances=0, maxInstances=2)
    site.look(0)
    site.look(0, after_s=61)
    given = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 2}
    deploy(harness, scaleSettings=given, environmentVariables={"RELEASE": "2"})
    assert len(live(harness)) == 1
    come_up(harness)
    assert site.capacity == 0 and harness.get(BLUE).json()["properties"]["provisioningState"] == "Succeeded"


def test_a_document_that_was_read_asleep_can_be_sent_again(harness: Harness) -> None:
    site = Site(harness, minInstances=0, maxInstances=2)
    site.look(0)
    site.look(0, after_s=61)
    assert harness.put(BLUE, harness.get(BLUE).json()).status_code == 201
    refused = harness.put(BLUE, {**harness.get(BLUE).json(), "sku": {"name": "Default", "capacity": 51}})
    assert refused.status_code == 400 and refused.json()["error"]["target"] == "sku.capacity"


def test_what_has_no_scale_settings_is_not_looked_at(harness: Harness) -> None:
    prepare(harness, KEY)
    deploy(harness)
    come_up(harness)
    scaler = Scaler(harness.platform)
    assert scaler.look() > 1
    assert not decided(harness.row(BLUE))


def test_what_is_still_drained_is_not_taken_for_what_is_wanted_again(harness: Harness) -> None:
    site = Site(harness, minInstances=0, maxInstances=2)
    (before,) = live(harness)
    harness.engine._obeys = False
    site.look(0)
    site.look(0, after_s=61)
    assert site.capacity == 0 and live(harness) == {before}
    with harness.database.write() as connection:
        decide(connection, BLUE.lower(), 1, harness.clock())
    harness.settle()
    assert site.capacity == 0 and len(live(harness)) == 2
    come_up(harness)
    assert site.capacity == 1 and before not in site.addresses[0]


def test_a_deployment_that_cannot_be_judged_holds_up_no_other(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(harness, minInstances=1, maxInstances=2)
    deploy(harness, "green", scaleSettings={"scaleType": "TargetUtilization", "maxInstances": 2})
    come_up(harness)
    site.look(0)
    real = scaling.wanted

    def wanted(in_flight: int, at_once: int, limits: Limits) -> int:
        if in_flight == 7:
            raise ZeroDivisionError
        return real(in_flight, at_once, limits)

    monkeypatch.setattr(scaling, "wanted", wanted)
    harness.gateway.active = {WHERE: 7, ("churn-scores", "green"): 8}
    for one in site.scaler._watched.values():
        one.next_at = 0.0
    site.scaler.look()
    assert decided(harness.row(f"{BLUE.rpartition('/')[0]}/green"))["count"] == 2


def test_no_failure_ends_the_thread(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler, stopped, looks = Scaler(harness.platform), threading.Event(), []

    def look() -> float:
        looks.append(1)
        if len(looks) > 1:
            stopped.set()
        scaler.stop()
        raise ZeroDivisionError

    monkeypatch.setattr(scaler, "look", look)
    scaler.stop()
    scaler.run(stopped)
    assert len(looks) == 2
