"""What `smalt check` finds in documents of the API; each item can fail by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from smalt.cli.commands.check import Facts, Item, items, lines

ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/churn"
COLLECTED = {"collections": {name: {"dataCollectionMode": "Enabled"} for name in ("model_inputs", "model_outputs")}}
PROPERTIES: dict[str, Any] = {
    "model": "/models/m/versions/1",
    "scaleSettings": {"scaleType": "TargetUtilization"},
    "livenessProbe": {"period": "PT1S"},
    "readinessProbe": {"period": "PT1S"},
    "dataCollector": COLLECTED,
    "environmentVariables": {"RELEASE": "2"},
}
ALERT = {"name": "slow", "properties": {"enabled": True, "scopes": [ID.upper()], "actions": [{"actionGroupId": "/a"}]}}


def deployment(count: int = 2, **more: Any) -> dict[str, Any]:
    properties = {name: value for name, value in {**PROPERTIES, **more}.items() if value is not None}
    return {"name": "blue", "id": f"{ID}/deployments/blue", "sku": {"capacity": count}, "properties": properties}


GOOD = Facts({"id": ID, "properties": {}}, [deployment()], [ALERT], [], ["2026-11-26T20:00:00Z"])


def failed(facts: Facts) -> list[Item]:
    return [one for one in items(facts) if not one.ok]


def test_an_endpoint_that_has_everything_passes() -> None:
    assert failed(GOOD) == []
    assert list(lines(items(GOOD)))[-1] == "all 8 items are there"


@pytest.mark.parametrize(
    ("facts", "name", "words"),
    [
        (replace(GOOD, serving=[deployment(1)]), "redundancy", "blue with one instance"),
        (replace(GOOD, serving=[deployment(scaleSettings={"scaleType": "Default"})]), "autoscale", "blue without"),
        (replace(GOOD, serving=[deployment(livenessProbe=None)]), "probes", "blue without both"),
        (replace(GOOD, serving=[deployment(readinessProbe=None)]), "probes", "blue without both"),
        (replace(GOOD, serving=[deployment(model=None)]), "model", "blue without a registered"),
        (replace(GOOD, serving=[deployment(dataCollector=None)]), "collection", "blue without inputs and outputs"),
        (replace(GOOD, alerts=[]), "alerts", "nobody is told"),
        (replace(GOOD, alerts=[{"name": "a", "properties": {"scopes": [ID], "actions": []}}]), "alerts", "nobody"),
        (
            replace(GOOD, alerts=[{**ALERT, "properties": {**ALERT["properties"], "enabled": False}}]),
            "alerts",
            "nobody",
        ),
        (
            replace(GOOD, alerts=[{**ALERT, "properties": {**ALERT["properties"], "scopes": ["/x"]}}]),
            "alerts",
            "nobody",
        ),
        (replace(GOOD, rollbacks=[]), "rollback", "never drilled"),
    ],
)
def test_what_is_missing_is_named_with_what_helps(facts: Facts, name: str, words: str) -> None:
    (one,) = failed(facts)
    assert one.name == name and words in one.found and one.remedy


@pytest.mark.parametrize(
    "variable",
    [
        {"DB_PASSWORD": "hunter2"},
        {"API_KEY": "x"},
        {"STORE": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b=="},
        {"PEM": "-----BEGIN PRIVATE KEY-----"},
        {"URL": "https://a.example/c?sv=1&sig=abc"},
        {"DATABASE": "postgresql://me:secret@db/x"},
    ],
)
def test_secrets_among_the_variables_are_named_and_not_shown(variable: dict[str, str]) -> None:
    (one,) = failed(replace(GOOD, serving=[deployment(environmentVariables=variable)]))
    (name, value), *_ = variable.items()
    assert one.name == "no secrets" and f"{name} of blue" in one.found and value not in " ".join(lines([one]))


def test_a_rule_of_azure_monitor_scales_too() -> None:
    fixed = deployment(scaleSettings={"scaleType": "Default"})
    rule = {"properties": {"enabled": True, "targetResourceUri": fixed["id"].lower()}}
    assert failed(replace(GOOD, serving=[fixed], autoscale=[rule])) == []
    off = {"properties": {**rule["properties"], "enabled": False}}
    assert [one.name for one in failed(replace(GOOD, serving=[fixed], autoscale=[off]))] == ["autoscale"]


def test_without_traffic_there_is_nothing_to_check() -> None:
    said = {one.name: one for one in failed(replace(GOOD, serving=[]))}
    assert {"redundancy", "autoscale", "probes", "collection", "model"} <= set(said)
    assert said["redundancy"].remedy == "give a deployment traffic"
