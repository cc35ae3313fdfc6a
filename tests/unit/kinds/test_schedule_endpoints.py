"""Schedules that ask a batch endpoint: a job of the endpoint at each time, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.jobs import JOBS
from fakes.pipelines import FOLDER
from fakes.platform import WORKSPACE, Harness
from fakes.schedules import BEGUN, HOURLY, URL, jobs, later, shown

ENDPOINT = f"{WORKSPACE}/batchEndpoints/churn-nightly"
KEY = "workspaces/batchendpoints/deployments"
FIELD = "properties.action.endpointInvocationDefinition"
INPUT = {"days": {"jobInputType": "UriFolder", "uri": f"{FOLDER}/${{{{creation_context.trigger_time}}}}"}}
NAME = "nightly-20270115t080000z"


@pytest.fixture(autouse=True)
def endpoint(harness: Harness) -> None:
    """With the deployment v1, its default."""
    harness.clock.now = BEGUN
    prepare(harness, KEY)
    answer = harness.put(f"{ENDPOINT}/deployments/v1", {"properties": EXAMPLES[KEY].properties})
    assert answer.status_code == 201, answer.text
    assert harness.put(ENDPOINT, {"properties": {"defaults": {"deploymentName": "v1"}}}).status_code == 200


def put(harness: Harness, definition: Any = None, type_: str = "InvokeBatchEndpoint", **more: Any) -> Any:
    said = {"endpointName": "churn-nightly", "properties": {"inputData": INPUT}} if definition is None else definition
    action = {"actionType": type_, "endpointInvocationDefinition": said}
    return harness.put(URL, {"properties": {"trigger": HOURLY, "action": action, **more}})


def test_each_time_has_a_job_of_the_endpoint(harness: Harness) -> None:
    answer = put(harness)
    assert answer.status_code == 201, answer.text
    later(harness, 30)
    later(harness, 3600)
    assert jobs(harness)[0] == NAME
    listed = [one["name"] for one in harness.get(f"{ENDPOINT}/jobs").json()["value"]]
    assert sorted(listed) == [NAME, "nightly-20270115t090000z"]
    assert len(harness.get(f"{ENDPOINT}/deployments/v1/jobs").json()["value"]) == 2
    job = harness.get(f"{JOBS}/{NAME}").json()["properties"]
    assert (job["jobType"], job["displayName"]) == ("Pipeline", "nightly-20270115T080000Z")
    assert (job["experimentName"], job["tags"]) == ("churn-nightly", {"azureml.batchrun": "true"})
    assert job["properties"]["azureml.scheduleId"] == "nightly"
    assert job["properties"]["azureml.deploymentname"] == "v1"
    assert job["inputs"]["days"]["uri"] == f"{FOLDER}/2027-01-15T08:00:00Z"
    found = harness.get(f"{JOBS}?scheduled=true&properties=azureml.scheduleId=nightly").json()["value"]
    assert sorted(one["name"] for one in found) == sorted(listed)
    action = shown(harness)["action"]
    assert action["actionType"] == "InvokeBatchEndpoint" and action["endpointInvocationDefinition"]["endpointName"]
    assert "jobDefinition" not in action and shown(harness)["lastRun"]["jobName"] == "nightly-20270115t090000z"


def test_it_asks_the_deployment_that_is_the_default_then_or_the_one_it_names(harness: Harness) -> None:
    properties = {**EXAMPLES[KEY].properties, "description": "another"}
    assert harness.put(f"{ENDPOINT}/deployments/v2", {"properties": properties}).status_code == 201
    put(harness)
    harness.put(ENDPOINT, {"properties": {"defaults": {"deploymentName": "v2"}}})
    later(harness, 30)
    put(harness, {"endpointName": "churn-nightly", "deploymentName": "v1", "properties": {"inputData": INPUT}})
    later(harness, 3600)
    asked = [
        harness.get(f"{JOBS}/{one}").json()["properties"]["properties"]["azureml.deploymentname"]
        for one in (NAME, "nightly-20270115t090000z")
    ]
    assert asked == ["v2", "v1"]


def test_it_is_triggered_by_hand_and_its_action_may_change(harness: Harness) -> None:
    put(harness, isEnabled=False)
    answer = harness.send("POST", f"{URL}/trigger", {"scheduleTime": "2026-12-31T23:00:00Z"})
    assert answer.status_code == 200 and answer.json()["scheduleActionType"] == "InvokeBatchEndpoint"
    job = harness.get(f"{JOBS}/{answer.json()['submissionId']}").json()["properties"]
    assert job["inputs"]["days"]["uri"].endswith("2026-12-31T23:00:00Z")


def test_an_endpoint_that_is_gone_is_told_and_the_schedule_goes_on(harness: Harness) -> None:
    put(harness)
    assert harness.send("DELETE", ENDPOINT).status_code == 200
    later(harness, 30)
    assert jobs(harness) == []
    last = shown(harness)["lastRun"]
    assert last["error"]["target"] == f"{FIELD}.endpointName" and "no batch endpoint" in last["error"]["message"]
    assert shown(harness)["nextRunTime"] == "2027-01-15T09:00:00.000000Z"


@pytest.mark.parametrize(
    ("definition", "field", "says"),
    [
        ({}, FIELD, "missing"),
        ({"properties": {}}, f"{FIELD}.endpointName", "missing"),
        ({"endpointName": ["a"]}, f"{FIELD}.endpointName", "no name"),
        ({"endpointName": "gone"}, f"{FIELD}.endpointName", "no batch endpoint 'gone'"),
        ({"endpointname": "churn-nightly"}, f"{FIELD}.endpointname", "endpointName"),
        ({"endpointName": "churn-nightly", "deploymentName": "v3"}, f"{FIELD}.deploymentName", "v1"),
        ({"endpointName": "churn-nightly"}, f"{FIELD}.properties.inputData", "none is given"),
        ({"endpointName": "churn-nightly", "properties": 3}, f"{FIELD}.properties", "object"),
        (
            {"endpointName": "churn-nightly", "properties": {"inputData": INPUT, "name": "mine"}},
            f"{FIELD}.properties.name",
            "names",
        ),
        (
            {"endpointName": "churn-nightly", "properties": {"inputData": INPUT, "miniBatchSize": "few"}},
            f"{FIELD}.properties.miniBatchSize",
            "integer",
        ),
    ],
)
def test_what_is_wrong_is_said_when_it_is_made(harness: Harness, definition: Any, field: str, says: str) -> None:
    answer = put(harness, definition)
    error = answer.json()["error"]
    assert (answer.status_code, error["target"]) == (400, field), error
    assert says in error["message"]
    assert harness.get(URL).status_code == 404


def test_another_action_is_told_which_there_are(harness: Harness) -> None:
    error = put(harness, type_="InvokeBatchEndpoints").json()["error"]
    assert error["target"] == "properties.action.actionType" and "InvokeBatchEndpoint" in error["message"]
    error = put(harness, type_="ImportData").json()["error"]
    assert error["code"] == "UnsupportedScheduleAction" and "InvokeBatchEndpoint" in error["message"]
