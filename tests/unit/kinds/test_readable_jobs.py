"""Jobs in spellings that are taken (REST's, YAML's, older clients') are read by the official client all the same."""

from __future__ import annotations

from typing import Any

import pytest
from azure.ai.ml._restclient.arm_ml_service.models import JobBase  # pyright: ignore[reportMissingTypeStubs]
from azure.ai.ml.entities import Job

from fakes import jobs, sweeps
from fakes.jobs import JOBS
from fakes.pipelines import component, data, node, says, submit
from fakes.platform import WORKSPACE, Harness

RAW = "${{parent.inputs.raw}}"
PLACE = "azureml://datastores/workspaceblobstore/paths/x/"
SWEEP: Any = {
    "type": "sweep", "trial": {"componentId": "azureml:part:1"}, "componentId": None, "inputs": {"data": RAW},
    "search_space": {"rate": ["Uniform", [0, 1]]}, "sampling_algorithm": {"sampling_algorithm_type": "Random"},
    "objective": {"goal": "maximize", "primaryMetric": "acc"}, "limits": {"maxTotalTrials": 2, "timeout": "PT1H"},
}  # fmt: skip
LOOP: Any = {"type": "do_while", "body": "${{parent.jobs.ask}}", "condition": "more"}
EACH: Any = {"type": "parallel_for", "body": "${{parent.jobs.a}}", "items": [{"rate": 1}]}


def read(document: Any) -> Any:
    return Job._from_rest_object(JobBase(document))  # pyright: ignore[reportPrivateUsage]


def shown(harness: Harness, jobs: Any, name: str = "pipe") -> Any:
    component(harness, "part")
    says(harness, name="ask", more="boolean")
    answer = submit(harness, jobs, name, inputs={"raw": data()})
    assert answer.status_code == 201, answer.text
    return read(harness.get(f"{JOBS}/{name}").json())


@pytest.mark.parametrize(
    ("given", "type_"),
    [
        ({"type": "aml_token"}, "AmlTokenConfiguration"),  # as version 1.9.0 sends it
        ({"type": "managed"}, "ManagedIdentityConfiguration"),
        ({"identityType": "UserIdentity"}, "UserIdentityConfiguration"),
        ({"identity_type": "Managed"}, "ManagedIdentityConfiguration"),
    ],
)
def test_a_steps_identity(harness: Harness, given: Any, type_: str) -> None:
    found = shown(harness, {"a": node("azureml:part:1", data=RAW, more={"identity": given})})
    assert type(found.jobs["a"].identity).__name__ == type_


@pytest.mark.parametrize(
    "more",
    [
        {"limits": {"timeout": 300}}, {"limits": {"timeout": "300"}}, {"outputs": None}, {"outputs": {"made": None}},
        {"distribution": {"distributionType": "PyTorch"}}, {"queueSettings": {"jobTier": "Standard"}},
        {"queue_settings": {"job_tier": "standard", "priority": "medium"}}, {"inputs": {"data": RAW}},
        {"inputs": {"data": {"job_input_type": "uri_folder", "uri": PLACE, "mode": "download"}}},
        {"outputs": {"made": {"type": "uri_file"}}}, {"outputs": {"made": {"mode": "upload"}}},
    ],
)  # fmt: skip
def test_what_else_a_step_says(harness: Harness, more: Any) -> None:
    found = shown(harness, {"a": node("azureml:part:1", data=RAW, more=more)})
    assert found.jobs["a"].component == "azureml:part:1"
    if more.get("limits"):
        assert found.jobs["a"].limits.timeout == 300
    again = harness.get(f"{JOBS}/pipe").json()
    assert harness.put(f"{JOBS}/pipe", again).status_code == 200, "what was read is that job"


@pytest.mark.parametrize(
    "more",
    [
        {"sampling_algorithm": None}, {"early_termination": None}, {"early_termination": {}}, {"objective": None},
        {"early_termination": {"policyType": "Bandit", "slackFactor": 0.1}}, {"queue_settings": {"job_tier": "spot"}},
        {"limits": {"max_total_trials": 2, "trial_timeout": "PT60S", "job_limits_type": "Sweep"}},
    ],
)  # fmt: skip
def test_a_step_that_is_a_sweep(harness: Harness, more: Any) -> None:
    if more.get("objective", 0) is None:
        more = {"objective": {"goal": "Maximize", "primary_metric": "acc"}}
    found = shown(harness, {"tune": {**SWEEP, **more}}).jobs["tune"]
    assert (found.search_space["rate"].type, found.search_space["rate"].max_value) == ("uniform", 1)
    assert found.objective.primary_metric == "acc"


@pytest.mark.parametrize("more", [{}, {"mapping": None}, {"limits": None}, {"limits": {"maxIterationCount": 2}}])
def test_loops(harness: Harness, more: Any) -> None:
    body = node("azureml:part:1", data=RAW)
    found = shown(harness, {"ask": node("azureml:ask:1"), "again": {**LOOP, **more}, "a": body, "each": EACH})
    assert found.jobs["again"].limits.max_iteration_count == (2 if more.get("limits") else 1000)
    assert found.jobs["each"].items == [{"rate": 1}]


def test_jobs_of_their_own(harness: Harness) -> None:
    ports = {"jobInputType": "uri_folder", "uri": PLACE, "mode": "readonlymount"}
    out = {"jobOutputType": "uri_folder", "mode": "upload"}
    asked: Any = {"distribution": {"distributionType": "pytorch"}, "inputs": {"x": ports}, "outputs": {"o": out}}
    assert jobs.submit(harness, "one", **asked).status_code == 201
    document = harness.get(f"{JOBS}/one").json()
    one = read(document)
    assert (one.inputs["x"].mode, one.outputs["o"].mode) == ("ro_mount", "upload")
    assert document["properties"]["distribution"]["distributionType"] == "PyTorch", "older clients know this alone"
    sweeps.sweep(harness, searchSpace={"lr": ["Choice", [[{"a": ["Uniform", [0, 1]]}]]]})
    document = harness.get(f"{JOBS}/tune").json()
    assert document["properties"]["searchSpace"] == {"lr": ["choice", [[{"a": ["uniform", [0, 1]]}]]]}
    assert read(document).search_space["lr"].type == "choice"
    assert harness.put(f"{JOBS}/tune", document).status_code == 200, "what was read is that job"


def test_schedules_show_their_jobs_so_too(harness: Harness) -> None:
    component(harness, "part")
    step = node("azureml:part:1", data=RAW, more={"identity": {"type": "aml_token"}})
    job = {"jobType": "Pipeline", "jobs": {"a": step}, "inputs": {"raw": data()}}
    trigger = {"triggerType": "Cron", "expression": "0 3 * * *"}
    body = {"action": {"actionType": "CreateJob", "jobDefinition": job}, "trigger": trigger}
    answer = harness.put(f"{WORKSPACE}/schedules/nightly", {"properties": body})
    assert answer.status_code in (200, 201), answer.text
    found = harness.get(f"{WORKSPACE}/schedules/nightly").json()["properties"]["action"]["jobDefinition"]
    assert found["jobs"]["a"]["identity"] == {"identity_type": "AMLToken"}
