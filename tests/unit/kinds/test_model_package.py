"""Packages of models: environments that hold what a deployment needs, and deployments that name nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, state
from fakes.examples import EXAMPLES, prepare
from fakes.platform import WORKSPACE, Harness

MODEL = EXAMPLES["workspaces/models/versions"].url
CODE = EXAMPLES["workspaces/codes/versions"].url
TARGET = "azureml://locations/local/workspaces/0000-11/environments/packed"
BASE = {"baseEnvironmentSourceType": "EnvironmentAsset", "resourceId": EXAMPLES[KEY].properties["environmentId"]}
SERVER = {
    "serverType": "AzureMLOnline",
    "codeConfiguration": {"codeId": f"azureml:/{CODE}", "scoringScript": "score.py"},
}
ASKED: dict[str, Any] = {
    "targetEnvironmentId": TARGET,
    "baseEnvironmentSource": BASE,
    "inferencingServer": SERVER,
    "environmentVariables": {"A": "package", "B": "package"},
    "tags": {"team": "risk"},
}


def package(harness: Harness, **more: Any) -> Any:
    asked = {name: value for name, value in {**ASKED, **more}.items() if value is not None}
    return harness.send("POST", f"{MODEL}/package", asked)


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    return harness


def test_a_package_is_an_environment_that_is_built(ready: Harness) -> None:
    made = package(ready)
    assert made.status_code == 200, made.text
    assert made.json()["targetEnvironmentId"].endswith("/environments/packed/versions/1")
    assert made.json()["buildState"] in ("Running", "Succeeded")
    shown = ready.get(f"{WORKSPACE}/environments/packed/versions/1").json()["properties"]
    assert shown["tags"] == {"team": "risk"} and "churn-model:1" in shown["description"]
    assert "package" not in str(shown.get("properties"))
    assert package(ready).json()["targetEnvironmentVersion"] == "2"
    assert package(ready, targetEnvironmentId=f"{TARGET}/versions/7").json()["targetEnvironmentVersion"] == "7"
    assert package(ready, targetEnvironmentId=f"{TARGET}/versions/7").status_code == 409
    named = package(ready, targetEnvironmentId=None, targetEnvironmentName="packaged-env")
    assert named.json()["targetEnvironmentName"] == "packaged-env"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"targetEnvironmentId": None}, "targetEnvironmentName"),
        ({"targetEnvironmentId": "azureml://elsewhere/x"}, "targetEnvironmentId"),
        ({"targetEnvironmentId": "azureml:a b:1"}, "targetEnvironmentId"),
        ({"targetEnvironmentId": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu"}, "name"),
        ({"inferencingServer": None}, "inferencingServer"),
        ({"inferencingServer": {"serverType": "Triton"}}, "inferencingServer.serverType"),
        ({"inferencingServer": {**SERVER, "codeConfiguration": {"codeId": "azureml:none:1", "scoringScript": "s"}}},
         "inferencingServer.codeConfiguration.codeId"),
        ({"baseEnvironmentSource": {**BASE, "resourceId": "azureml:none:1"}}, "baseEnvironmentSource.resourceId"),
        ({"environmentVariables": {"A": {"b": 1}}}, "environmentVariables.A"),
        ({"baseEnvironmentSource": None}, "baseEnvironmentSource"),
    ],
)  # fmt: skip
def test_what_cannot_be_packaged_is_named(ready: Harness, more: dict[str, Any], field: str) -> None:
    refused = package(ready, **more)
    assert refused.status_code == 400, refused.text
    assert field in refused.text
    assert ready.get(f"{WORKSPACE}/environments/packed/versions/1").status_code == 404, "nothing was made"


def test_nobody_but_the_platform_writes_a_package(ready: Harness) -> None:
    body = {"properties": {"image": "x", "properties": {"package": "1"}}, "status": {"package": {"model": MODEL}}}
    assert ready.put(f"{WORKSPACE}/environments/forged/versions/1", body).status_code == 201
    answer = ready.put(BLUE, {"properties": {"environmentId": f"{WORKSPACE}/environments/forged/versions/1"}})
    assert answer.status_code == 400 and "codeConfiguration" in answer.text


def test_a_deployment_of_a_package_needs_nothing_else(ready: Harness) -> None:
    packed = package(ready).json()["targetEnvironmentId"]
    asked = {"environmentId": packed, "instanceType": "Standard_DS3_v2", "environmentVariables": {"B": "mine"}}
    made = ready.put(BLUE, {"location": "local", "properties": asked, "sku": {"name": "Default", "capacity": 1}})
    assert made.status_code == 201, made.text
    ready.settle()
    (task,) = ready.engine.tasks.values()
    assert task.server and task.server.script == "score.py" and task.server.model
    assert (task.variables["A"], task.variables["B"]) == ("package", "mine")
    come_up(ready)
    assert state(ready) == "Succeeded" and ready.get(ENDPOINT).status_code == 200
