"""What goes wrong around a job for good ends the job, and gives back what it held."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, counts, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import TaskSpec
from smalt.arm.ports import NotReady


def until(harness: Harness, state: str, name: str = "train-1") -> None:
    for _ in range(200):
        harness.settle()
        if status(harness, name) == state:
            return
        harness.clock.pass_(1)
    raise AssertionError(f"{name} is still {status(harness, name)}")


def test_waiting_for_mlflow_uses_up_no_tries(harness: Harness) -> None:
    real = harness.tracking.ensure_run

    def starting(run: Any) -> None:
        raise NotReady("the database is made")

    harness.tracking.ensure_run = starting  # type: ignore[method-assign]
    submit(harness)
    for _ in range(30):
        harness.settle()
        harness.clock.pass_(1)
    assert status(harness) == "NotStarted" and harness.row(f"{JOBS}/train-1").failures == 0
    harness.tracking.ensure_run = real  # type: ignore[method-assign]
    harness.clock.pass_(1)
    harness.settle()
    assert status(harness) == "Starting"


def test_a_task_that_can_never_be_started_fails_the_job_and_frees_its_node(harness: Harness) -> None:
    compute, real = cluster(harness), harness.engine.ensure

    def full(task: TaskSpec) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    harness.engine.ensure = full  # type: ignore[method-assign]
    submit(harness, computeId=compute)
    until(harness, "Failed")
    row = harness.row(f"{JOBS}/train-1")
    assert "No space left" in row.status["error"]["message"]
    assert harness.tracking.runs[WORKSPACE.lower(), "train-1"]["status"] == "FAILED"
    assert counts(harness)[0] == 0
    harness.engine.ensure = real  # type: ignore[method-assign]
    submit(harness, "train-2", computeId=compute)
    harness.settle()
    assert status(harness, "train-2") == "Starting"


def test_the_end_of_a_job_is_never_given_up(harness: Harness) -> None:
    """A tracking server that is away for minutes does not make a job that completed a failed one."""
    output = {"jobOutputType": "uri_folder", "assetName": "scores"}
    submit(harness, outputs={"scores": output}, computeId=cluster(harness))
    harness.settle()
    (task,) = harness.engine.tasks.values()
    real, tries = harness.tracking.end_run, []

    def away(*_: Any) -> None:
        tries.append(harness.clock())
        raise OSError("the tracking database is away")

    harness.tracking.end_run = away  # type: ignore[method-assign]
    harness.engine.start(task.name)
    harness.engine.finish(task.name, 0)
    for _ in range(300):
        harness.settle()
        harness.clock.pass_(1)
    assert status(harness) == "Finalizing" and len(tries) > 10
    harness.tracking.end_run = real  # type: ignore[method-assign]
    until(harness, "Completed")
    assert harness.get(f"{WORKSPACE}/data/scores/versions/1").status_code == 200
    assert counts(harness)[0] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("assetVersion", "²"), ("assetVersion", "1/2"), ("assetName", "aa/versions/1"), ("assetName", "-x")],
)
def test_an_output_is_registered_under_a_name_that_an_asset_can_have(harness: Harness, field: str, value: str) -> None:
    refused = submit(harness, outputs={"o": {"jobOutputType": "uri_folder", "assetName": "ok", field: value}})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["target"] == f"properties.outputs.o.{field}"


@pytest.mark.parametrize(
    ("wrong", "target"),
    [
        ({"distribution": {"distributionType": "PyTorch", "processCountPerInstance": "two"}}, "distribution"),
        ({"distribution": "PyTorch"}, "distribution"),
        ({"resources": {"instanceCount": "2.5"}}, "resources.instanceCount"),
        ({"resources": []}, "resources"),
        ({"limits": {"timeout": ["PT1H"]}}, "limits.timeout"),
        ({"inputs": {"a": 3}}, "inputs.a"),
        ({"outputs": ["a"]}, "outputs"),
        ({"environmentVariables": "A=1"}, "environmentVariables"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_field(harness: Harness, wrong: Any, target: str) -> None:
    refused = submit(harness, **wrong)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["target"].startswith(f"properties.{target}")


@pytest.mark.parametrize("given", ["2", "2.0", 2])
def test_a_number_may_be_written_as_text(harness: Harness, given: Any) -> None:
    made = submit(harness, resources={"instanceCount": given})
    assert made.status_code == 201 and made.json()["properties"]["resources"]["instanceCount"] == 2
    harness.settle()
    assert len(harness.engine.tasks) == 2


def test_tags_may_be_taken_away(harness: Harness) -> None:
    submit(harness, tags={"team": "churn"})
    changed = submit(harness, tags=None)
    assert changed.status_code == 200 and changed.json()["properties"]["tags"] == {}
    harness.settle()
    assert status(harness) == "Starting"
