"""What `smalt check` finds in documents of the API; each item can fail by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from smalt.cli.api import Api
from smalt.cli.commands.check import Facts, Item, _facts, items, lines

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


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("MAX_NEW_TOKENS", "512", False),
        ("KEYBOARD_LAYOUT", "us", False),
        ("USE_API_KEY", "true", False),
        ("TOKEN_LIMIT", "4096", False),
        ("MONKEY", "business", False),
        ("HF_TOKEN", "abc", True),
        ("apiKey", "abc", True),
        ("PGPASSWORD", "abc", True),
        ("StorageConnectionString", "abc", True),
        ("AZURE_CONNECTION_STRING", "abc", True),
    ],
)
def test_names_of_secrets_are_whole_words_and_numbers_and_switches_are_none(
    name: str, value: str, secret: bool
) -> None:
    found = failed(replace(GOOD, serving=[deployment(environmentVariables={name: value})]))
    assert [one.name for one in found] == (["no secrets"] if secret else [])


class Pages:
    """Lists of two pages, of which the second has what counts."""

    workspace = ID.partition("/onlineEndpoints/")[0]

    def get(self, path: str, **query: str) -> dict[str, Any]:
        if path == "onlineEndpoints/churn":
            return {"id": ID, "properties": {"traffic": {"blue": 100}}}
        if path.endswith("/changes"):
            return {"value": []}
        if "$skipToken" not in query:
            link = f"https://localhost:1{self.workspace}/{path.lstrip('/')}?api-version=7&%24skipToken=a%2Fb"
            return {"value": [], "nextLink": link}
        assert query == {"api-version": "7", "$skipToken": "a/b"}
        listed = {"deployments": deployment(), "metricAlerts": ALERT, "autoscaleSettings": {"name": "s"}}
        return {"value": [listed[path.rpartition("/")[2]]]}


def test_lists_are_read_to_their_end() -> None:
    facts = _facts(cast(Api, Pages()), "churn")
    assert [one["name"] for one in (*facts.serving, *facts.alerts, *facts.autoscale)] == ["blue", "slow", "s"]
