"""Steps that do the same and could run at once: one of them runs, the others wait for it and have its outputs."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, status
from fakes.jobs import submit as submit_job
from fakes.pipelines import child, component, data, end, job_of, node, run_to_the_end, running, submit
from fakes.platform import WORKSPACE, Harness
from smalt.kinds.jobs.model import TYPES

IN = "${{parent.inputs.raw}}"


@pytest.fixture(autouse=True)
def part(harness: Harness) -> None:
    component(harness, "part")


def one(harness: Harness, name: str, more: Any = None, **properties: Any) -> None:
    """A pipeline of one step, called as the pipeline is."""
    jobs = {name: node("azureml:part:1", data=IN, more=more)}
    assert submit(harness, jobs, name, inputs={"raw": data()}, **properties).status_code == 201
    harness.settle()


def shown(harness: Harness, name: str) -> Any:
    return child(harness, name, name)


def test_of_two_equal_steps_of_a_pipeline_one_runs(harness: Harness) -> None:
    jobs = {name: node("azureml:part:1", data=IN) for name in ("one", "two")}
    jobs["after"] = node("azureml:part:1", data="${{parent.jobs.two.outputs.made}}")
    assert submit(harness, jobs, inputs={"raw": data()}).status_code == 201
    harness.settle()
    assert list(running(harness)) == ["one"] and child(harness, "two")["status"] == "Queued"
    events = harness.get(f"{JOBS}/{job_of(harness, 'two')}/events").json()["value"]
    assert f"waits for job {job_of(harness, 'one')}, which does the same" in str(events)
    end(harness, "one")
    assert list(running(harness)) == ["after"]
    two = child(harness, "two")
    assert two["properties"]["azureml.isreused"] == "true"
    assert two["properties"]["azureml.reusedrunid"] == job_of(harness, "one")
    assert two["outputs"]["made"]["uri"] == child(harness, "one")["outputs"]["made"]["uri"]
    assert harness.tracking.runs[WORKSPACE.lower(), job_of(harness, "two")]["status"] == "FINISHED"
    end(harness, "after")
    assert status(harness, "pipe") == "Completed"


def test_of_equal_pipelines_that_run_at_once_one_does_the_work(harness: Harness) -> None:
    for name in ("first", "second", "third"):
        jobs = {
            "one": node("azureml:part:1", data=IN),
            "two": node("azureml:part:1", data="${{parent.jobs.one.outputs.made}}", rate="0.2"),
        }
        assert submit(harness, jobs, name, inputs={"raw": data()}).status_code == 201
    assert run_to_the_end(harness) == ["one", "two"]
    for name in ("first", "second", "third"):
        assert status(harness, name) == "Completed"
    made = {child(harness, "two", name)["outputs"]["made"]["uri"] for name in ("first", "second", "third")}
    assert len(made) == 1


def test_if_the_first_fails_the_second_runs_and_the_third_waits_for_that(harness: Harness) -> None:
    for name in ("first", "second", "third"):
        one(harness, name)
    end(harness, "first", exit_code=1)
    assert status(harness, "first") == "Failed" and list(running(harness)) == ["second"]
    assert shown(harness, "third")["status"] == "Queued"
    end(harness, "second")
    assert shown(harness, "third")["properties"]["azureml.reusedrunid"] == job_of(harness, "second", "second")
    assert [status(harness, name) for name in ("second", "third")] == ["Completed", "Completed"]


def test_if_the_first_is_canceled_or_deleted_another_runs(harness: Harness) -> None:
    for name in ("first", "second", "third"):
        one(harness, name)
    harness.send("POST", f"{JOBS}/first/cancel")
    harness.settle()
    assert status(harness, "first") == "Canceled" and list(running(harness)) == ["second"]
    harness.send("DELETE", f"{JOBS}/{job_of(harness, 'second', 'second')}")
    harness.settle()
    assert list(running(harness)) == ["third"]
    end(harness, "third")
    assert status(harness, "third") == "Completed"
    assert "azureml.isreused" not in shown(harness, "third")["properties"]


def test_one_that_waits_can_be_canceled_and_deleted(harness: Harness) -> None:
    for name in ("first", "second", "third"):
        one(harness, name)
    for name in ("second", "third"):
        harness.send("POST", f"{JOBS}/{name}/cancel")
    harness.send("DELETE", f"{JOBS}/third")
    harness.settle()
    assert status(harness, "second") == "Canceled" and harness.get(f"{JOBS}/third").status_code == 404
    end(harness, "first")
    assert status(harness, "first") == "Completed" and status(harness, "second") == "Canceled"


@pytest.mark.parametrize(
    "change", [{"settings": {"force_rerun": True}}, {"more": {"environment_variables": {"A": "b"}}}]
)
def test_what_may_not_be_reused_is_not_waited_for(harness: Harness, change: dict[str, Any]) -> None:
    one(harness, "first")
    one(harness, "second", **change)
    assert sorted(running(harness)) == ["first", "second"]


def test_what_is_not_deterministic_is_not_waited_for(harness: Harness) -> None:
    component(harness, "part", "2", is_deterministic=False)
    jobs = {name: node("azureml:part:2", data=IN) for name in ("one", "two")}
    assert submit(harness, jobs, inputs={"raw": data()}).status_code == 201
    harness.settle()
    assert sorted(running(harness)) == ["one", "two"]


def test_one_that_may_run_does_not_wait_for_one_that_waits_for_nodes(harness: Harness) -> None:
    full, free = cluster(harness, "full"), cluster(harness, "free")
    submit_job(harness, "busy", displayName="busy", computeId=full)
    harness.settle()
    one(harness, "first", {"computeId": full})
    assert shown(harness, "first")["status"] == "Queued"
    one(harness, "second", {"computeId": free})
    assert sorted(running(harness)) == ["busy", "second"]


@pytest.mark.parametrize("queue", [{"job_tier": "Spot"}, {"priority": "high"}])
def test_one_of_another_tier_or_priority_waits_for_no_like(harness: Harness, queue: dict[str, Any]) -> None:
    one(harness, "first")
    one(harness, "second", {"queue_settings": queue})
    assert sorted(running(harness)) == ["first", "second"]


def test_rounds_of_a_loop_do_not_share_and_those_of_another_run_do(harness: Harness) -> None:
    component(
        harness,
        "inner",
        type="pipeline",
        jobs={"in": node("azureml:part:1", data=IN)},
        inputs={"raw": {"type": "uri_folder"}},
        outputs={},
    )
    jobs = {
        "body": node("azureml:inner:1", type="pipeline", raw=IN),
        "each": {"type": "parallel_for", "body": "${{parent.jobs.body}}", "items": [{}, {}]},
    }
    for name in ("first", "second"):
        assert submit(harness, jobs, name, inputs={"raw": data()}).status_code == 201
    assert run_to_the_end(harness) in (["in"], ["in", "in"])
    assert len(harness.engine.starts) == 2
    assert [status(harness, name) for name in ("first", "second")] == ["Completed", "Completed"]


def test_one_that_ended_while_the_step_was_decided_is_reused(harness: Harness) -> None:
    one(harness, "first")
    jobs = {"second": node("azureml:part:1", data=IN)}
    assert submit(harness, jobs, "second", inputs={"raw": data()}).status_code == 201
    step = TYPES["Pipeline"].step(harness.platform, harness.row(f"{JOBS}/second"))
    harness.engine.finish(running(harness)["first"], 0)
    harness.settle()
    assert status(harness, "first") == "Completed" and step.writes is not None
    with harness.database.write() as connection:
        step.writes(connection)
    harness.settle()
    assert shown(harness, "second")["properties"]["azureml.reusedrunid"] == job_of(harness, "first", "first")
