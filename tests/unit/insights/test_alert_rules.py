"""Rules of alerts and groups of actions: what they may say, and how they are listed."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.alerts import ACTIONS, ALERT, BLUE, ENDPOINT, Receiver, Site
from fakes.examples import EXAMPLES, prepare
from fakes.platform import GROUP, Harness
from smalt.kinds.insights.action_group import refused
from smalt.settings import Settings


def test_what_could_never_fire_is_refused(harness: Harness) -> None:
    prepare(harness, "microsoft.insights/metricalerts")
    example = EXAMPLES["microsoft.insights/metricalerts"]
    (condition,) = example.body()["properties"]["criteria"]["allOf"]
    for name, status in (("colour", 400), ("deployment", 200), ("STATUSCODE", 400)):  # of latency
        dimension = {"name": name, "operator": "Include", "values": ["*"]}
        answer = harness.put(ALERT, example.body(criteria={"allOf": [{**condition, "dimensions": [dimension]}]}))
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["error"]["target"] == "properties.criteria.allOf.0.dimensions.0"
    answer = harness.put(ALERT, example.body(windowSize="PT1M", evaluationFrequency="PT5M"))
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "properties.windowSize")


def test_what_cannot_be_sent_is_refused(harness: Harness) -> None:
    def put(**more: Any) -> Any:
        answer = harness.put(ACTIONS, {"location": "Global", "properties": {"groupShortName": "ops", **more}})
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]

    assert put(emailReceivers=[{"name": "a", "emailAddress": "a@b.example"}])["target"] == "properties.emailReceivers"
    error = put(webhookReceivers=[{"name": "a", "serviceUri": "https://hooks.example/x?code=abc"}])
    assert error["target"] == "properties.webhookReceivers.0.serviceUri" and "webhook_hosts" in error["message"]
    assert "abc" not in error["message"]


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://hooks.example/x", True),
        ("http://hooks.example/x", True),
        ("https://hooks.example:8443/x", False),
        ("https://team.chat.example:8443/x", True),
        ("https://chat.example:8443/x", False),
        ("https://evil-hooks.example/x", False),
        ("https://hooks.example@169.254.169.254/", False),
        ("http://169.254.169.254/metadata", False),
        ("file:///etc/passwd", False),
        ("https://[::1]:9000/", True),
        ("https://[::1]/", False),
        ("http://hooks.example:99999/", False),
    ],
)
def test_only_addresses_that_are_allowed(tmp_path: Any, uri: str, allowed: bool) -> None:
    settings = Settings(tmp_path, webhook_hosts="hooks.example,*.chat.example:8443,[::1]:9000")
    assert (refused(settings, uri) == "") == allowed


def test_a_rule_says_what_there_is(harness: Harness) -> None:
    prepare(harness, "microsoft.insights/metricalerts")
    good = EXAMPLES["microsoft.insights/metricalerts"].body()
    criterion = good["properties"]["criteria"]["allOf"][0]

    def put(**more: Any) -> str:
        answer = harness.put(ALERT, {**good, "properties": {**good["properties"], **more}})
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["target"])

    assert put(scopes=[f"{GROUP}/providers/Microsoft.Insights/actionGroups/none"]) == "properties.scopes.0"
    assert put(criteria={"allOf": [{**criterion, "metricName": "P99"}]}).endswith("allOf.0.metricName")
    assert put(criteria={"allOf": [{**criterion, "criterionType": "DynamicThresholdCriterion"}]}).endswith(
        "criterionType"
    )
    assert put(windowSize="PT30S") == "properties.windowSize"
    assert put(actions=[{"actionGroupId": ENDPOINT}]) == "properties.actions.0.actionGroupId"


def test_ids_are_kept_as_the_platform_writes_them(tmp_path: Any, hook: Receiver) -> None:
    site = Site(tmp_path, hook, scopes=[f"{ENDPOINT}/"], actions=[{"actionGroupId": f"{ACTIONS}/"}])
    said = site.harness.get(ALERT).json()["properties"]
    assert said["scopes"] == [ENDPOINT] and said["actions"] == [{"actionGroupId": ACTIONS}]
    for _ in range(3):
        site.answer(800)
    assert site.state == "Fired" and len(hook.heard) == 1
    site.harness.close()


def test_alerts_are_listed_by_what_they_look_at(site: Site) -> None:
    rules = f"{GROUP}/providers/Microsoft.Insights/metricAlerts"
    workspace = ENDPOINT.partition("/onlineEndpoints/")[0]
    for scope, names in ((ENDPOINT, ["slow"]), (workspace, ["slow"]), (BLUE, []), (ENDPOINT[:-1], []), ("", ["slow"])):
        found = site.harness.get(f"{rules}?scope={scope}").json()["value"]
        assert [one["name"] for one in found] == names, scope


def test_a_runbook_is_a_schedule_that_is_there(harness: Harness) -> None:
    prepare(harness, "workspaces/schedules")
    schedule = EXAMPLES["workspaces/schedules"]
    harness.put(schedule.url, schedule.body())
    for more, target in (
        ({"webhookResourceId": "none"}, "webhookResourceId"),
        ({"webhookResourceId": f"{schedule.url}-2"}, "webhookResourceId"),
        ({"webhookResourceId": GROUP}, "webhookResourceId"),
        ({"webhookResourceId": schedule.url, "serviceUri": "https://hooks.example/x"}, "serviceUri"),
        ({}, "webhookResourceId"),
    ):
        group = {"groupShortName": "ops", "automationRunbookReceivers": [{"name": "a", **more}]}
        answer = harness.put(ACTIONS, {"location": "Global", "properties": group})
        error = answer.json()["error"]
        assert (answer.status_code, error["target"]) == (400, f"properties.automationRunbookReceivers.0.{target}"), (
            error
        )
