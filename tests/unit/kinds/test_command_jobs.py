"""A command job's life, step by step, with an engine whose tasks change when the test says so."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Outcome
from smalt.store import claims


def test_from_submission_to_completed(harness: Harness) -> None:
    assert submit(harness, experimentName="churn").status_code == 201
    assert status(harness) == "NotStarted"
    harness.settle()
    assert status(harness) == "Starting"
    (task,) = harness.engine.tasks.values()
    assert task.command == "python train.py"
    assert task.variables["MLFLOW_RUN_ID"] == "train-1" and task.variables["MLFLOW_EXPERIMENT_NAME"] == "churn"
    assert json.loads(task.documents[task.variables["ARM_CLOUD_METADATA_URL"]])[0]["name"] == "Smalt"
    harness.engine.start(task.name)
    harness.settle()
    assert status(harness) == "Running"
    harness.engine.finish(task.name, 0)
    harness.settle()
    assert status(harness) == "Completed"
    assert harness.tracking.runs[WORKSPACE.lower(), "train-1"]["status"] == "FINISHED"
    assert harness.row(f"{JOBS}/train-1").due_at is None, "a finished job still costs something"


def test_a_failing_command_says_why(harness: Harness) -> None:
    submit(harness)
    harness.settle()
    (name,) = harness.engine.tasks
    harness.engine.start(name)
    harness.engine.finish(name, 2, error="User process 'python' exited with status code 2: no such file")
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert row.state == "Failed" and "status code 2" in row.status["error"]["message"]
    assert harness.tracking.runs[WORKSPACE.lower(), "train-1"]["status"] == "FAILED"


def test_a_lost_agent_fails_the_job_with_the_reason(harness: Harness) -> None:
    submit(harness)
    harness.settle()
    (name,) = harness.engine.tasks
    harness.engine.start(name)
    harness.engine.lose(name)
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert row.state == "Failed" and row.status["error"]["code"] == "NodeLost"


@pytest.mark.parametrize("when", ["before the first step", "starting", "running"])
def test_cancel(harness: Harness, when: str) -> None:
    submit(harness)
    if when != "before the first step":
        harness.settle()
        (name,) = harness.engine.tasks
        if when == "running":
            harness.engine.start(name)
            harness.settle()
    answer = harness.send("POST", f"{JOBS}/train-1/cancel")
    assert answer.status_code == 202
    harness.settle()
    assert status(harness) == "Canceled"
    assert harness.get(answer.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
    assert harness.send("POST", f"{JOBS}/train-1/cancel").status_code == 200
    assert not harness.engine.tasks, "something still runs"
    assert harness.tracking.runs.get((WORKSPACE.lower(), "train-1"), {"status": "KILLED"})["status"] == "KILLED"


def test_the_environment_is_built_once_for_all_who_wait(harness: Harness) -> None:
    harness.environments.build_at_once = False
    for name in ("one", "two"):
        submit(harness, name)
    harness.settle()
    assert [status(harness, name) for name in ("one", "two")] == ["Preparing", "Preparing"]
    (build,) = [name for name in harness.engine.tasks if name.startswith("build-")]
    harness.environments.ready.add(next(iter(harness.row(f"{JOBS}/one").spec["smalt"]["plan"].items()))[1])
    harness.engine.finish(build, 0)
    harness.settle()
    assert [status(harness, name) for name in ("one", "two")] == ["Starting", "Starting"]


def test_a_build_that_fails_fails_the_job_and_is_tried_again_by_the_next(harness: Harness) -> None:
    harness.environments.build_at_once = False
    submit(harness)
    harness.settle()
    (build,) = harness.engine.tasks
    harness.engine.finish(build, 1)
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert row.state == "Failed" and "no-such-package" in row.status["error"]["message"]
    submit(harness, "train-2")
    harness.settle()
    assert status(harness, "train-2") == "Preparing"
    assert len([name for name in harness.engine.starts if name.startswith("build-")]) == 2


def test_a_failing_rank_ends_the_others(harness: Harness) -> None:
    compute = cluster(harness, most=2)
    submit(harness, computeId=compute, resources={"instanceCount": 2})
    harness.settle()
    first, second = harness.engine.tasks
    for name in (first, second):
        harness.engine.start(name)
    harness.engine.finish(second, 1, error="rank 1 broke")
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert row.state == "Failed" and row.status["error"]["message"].startswith("Node 1: rank 1 broke")
    assert first in harness.engine.removed and not harness.engine.tasks


def test_a_named_output_becomes_a_version(harness: Harness) -> None:
    outputs = {
        "scores": {"jobOutputType": "uri_folder", "assetName": "nightly"},
        "plain": {"jobOutputType": "uri_file"},
    }
    submit(harness, outputs=outputs)
    harness.settle()
    harness.engine.finish(next(iter(harness.engine.tasks)), 0)
    harness.settle()
    version = harness.get(f"{WORKSPACE}/data/nightly/versions/1").json()["properties"]
    assert version["dataUri"] == "azureml://datastores/workspaceblobstore/paths/azureml/train-1/scores/"
    shown = harness.get(f"{JOBS}/train-1").json()["properties"]["outputs"]
    assert shown["scores"]["assetVersion"] == "1"
    assert shown["plain"]["uri"].endswith("azureml/train-1/plain")
    assert harness.get(f"{WORKSPACE}/data/nightly").json()["properties"]["nextVersion"] == "2"


@pytest.mark.parametrize(
    ("resources", "shm", "setting"),
    [
        ({}, 2 << 30, ""),
        ({"shmSize": "512M"}, 512 << 20, ""),
        ({"instanceType": "Standard_B1s"}, 1 << 30, "Standard_B1s (resources.instance_type of the job)"),
        ({"shmSize": "3g", "instanceType": "STANDARD_DS2_V2"}, 3 << 30, "Standard_DS2_v2 (resources.instance_type"),
    ],
)
def test_a_job_has_the_limits_of_its_size(harness: Harness, resources: dict[str, Any], shm: int, setting: str) -> None:
    submit(harness, resources=resources)
    harness.settle()
    limits = next(one for name, one in harness.engine.tasks.items() if name.startswith("job-")).limits
    assert limits.shm_bytes == shm
    assert bool(limits.disk_bytes) == bool(limits.more) == bool(setting) and setting in limits.more


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.OUT_OF_MEMORY, "OutOfMemory"), (Outcome.OUT_OF_DISK, "OutOfDisk")]
)
def test_a_job_that_is_over_a_limit_says_which(harness: Harness, outcome: Outcome, code: str) -> None:
    submit(harness)
    harness.settle()
    harness.engine.end_over_limit(next(iter(harness.engine.tasks)), outcome, "over")
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert (row.state, row.status["error"]) == ("Failed", {"code": code, "message": "over"})


def test_a_cluster_says_the_size_of_its_nodes(harness: Harness) -> None:
    submit(harness, computeId=cluster(harness, "cpu-cluster"))
    harness.settle()
    limits = next(one for name, one in harness.engine.tasks.items() if name.startswith("job-")).limits
    assert "(the size of compute 'cpu-cluster'); a larger one has more." in limits.more


class TestKillAnything:
    """A crash after any step, a lease that was lost, a step delivered twice: the job still runs exactly once."""

    def drive(self, harness: Harness) -> None:
        harness.settle()
        for name in list(harness.engine.tasks):
            harness.engine.start(name)
        harness.settle()
        for name in list(harness.engine.tasks):
            harness.engine.finish(name, 0)
        harness.settle()

    @pytest.mark.parametrize("survives", range(6))
    def test_crash_after_each_step(self, harness: Harness, survives: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The result of step number `survives` is never written: the process died after acting."""
        submit(harness)
        real, seen = claims.apply, []

        def crash(connection: Any, row: Any, **values: Any) -> bool:
            if row.kind == "workspaces/jobs":
                seen.append(row.id)
                if len(seen) == survives + 1:
                    raise KeyboardInterrupt
            return real(connection, row, **values)

        monkeypatch.setattr(claims, "apply", crash)
        with contextlib.suppress(KeyboardInterrupt):
            self.drive(harness)
        monkeypatch.undo()
        harness.loop = harness.new_loop()
        harness.loop.resume()
        self.drive(harness)
        assert status(harness) == "Completed"
        assert len(harness.engine.starts) == len(set(harness.engine.starts)) == 1

    def test_a_stale_lease_changes_nothing(self, harness: Harness) -> None:
        submit(harness)
        with harness.database.write() as connection:
            (row,) = claims.claim(connection, [f"{JOBS}/train-1".lower()], harness.clock(), "dead", 30)
        harness.clock.pass_(31)
        self.drive(harness)
        assert status(harness) == "Completed"
        with harness.database.write() as connection:
            kept = claims.apply(
                connection, row, status={}, state="Queued", due_at=None, failures=0, now=1.0, reason="", ended=False
            )
        assert not kept and status(harness) == "Completed"

    def test_two_loops_on_one_database(self, harness: Harness) -> None:
        submit(harness)
        other = harness.new_loop()
        for _ in range(10):
            harness.loop.run_due()
            other.run_due()
        for name in list(harness.engine.tasks):
            harness.engine.finish(name, 0)
        other.run_due()
        harness.loop.run_due()
        assert status(harness) == "Completed" and len(harness.engine.starts) == 1

    def test_steps_that_raise_are_tried_again_and_then_fail_the_job(self, harness: Harness) -> None:
        def broken(*_: Any) -> None:
            raise OSError("disk on fire")

        harness.tracking.ensure_run = broken  # type: ignore[method-assign]
        submit(harness)
        for _ in range(20):
            harness.settle()
            harness.clock.pass_(60)
        row = harness.row(f"{JOBS}/train-1")
        assert row.state == "Failed" and "disk on fire" in json.dumps(row.status["error"])


def test_lists_filter_and_page(harness: Harness) -> None:
    for number in range(5):
        submit(harness, f"job-{number}", tags={"team": "a" if number % 2 else "b"})
    names = [one["name"] for one in harness.get(f"{JOBS}?tag=team=a").json()["value"]]
    assert names == ["job-3", "job-1"]
    harness.send("PATCH", f"{JOBS}/job-3", {"properties": {"isArchived": True}})
    active = [one["name"] for one in harness.get(f"{JOBS}?listViewType=ActiveOnly").json()["value"]]
    archived = [one["name"] for one in harness.get(f"{JOBS}?listViewType=ArchivedOnly").json()["value"]]
    assert "job-3" not in active and archived == ["job-3"]
    assert len(harness.get(f"{JOBS}?listViewType=All").json()["value"]) == 5


def test_deleting_a_group_ends_all_that_runs_in_it(harness: Harness) -> None:
    group = WORKSPACE.split("/providers/")[0] + "-doomed"
    workspace = f"{group}/providers/Microsoft.MachineLearningServices/workspaces/doomed"
    harness.put(group, {"location": "local"})
    harness.put(workspace, {"properties": {}})
    harness.settle()
    body = {"jobType": "Command", "command": "sleep 600", "environmentId": CURATED}
    assert harness.put(f"{workspace}/jobs/sleeper", {"properties": body}).status_code == 201
    harness.settle()
    (task,) = harness.engine.tasks
    harness.engine.start(task)
    account = harness.row(workspace).status["account"]
    assert harness.send("DELETE", group).status_code == 202
    harness.settle()
    assert harness.get(workspace).status_code == 404 and harness.get(group).status_code == 404
    assert not harness.engine.tasks, "the job still runs"
    assert not (harness.settings.root / "blobs" / account / "azureml").exists()
    assert not [run for (where, _), run in harness.tracking.runs.items() if where == workspace.lower()]


def test_the_subscription_stays(harness: Harness) -> None:
    subscription = "/".join(WORKSPACE.split("/")[:3])
    assert harness.send("DELETE", subscription).status_code == 405
