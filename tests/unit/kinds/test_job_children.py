"""Jobs that run other jobs: submitted once, counted, canceled and deleted together; the parent's work stays small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, status
from fakes.parents import FAN
from fakes.platform import Harness
from smalt.arm.kind import Step
from smalt.arm.platform import Platform
from smalt.arm.runs import JOBS as JOB_KIND
from smalt.kinds.jobs import children
from smalt.kinds.jobs.model import TYPES
from smalt.store import children as child_counts
from smalt.store import resources
from smalt.store.resources import Row

CHILD = {"jobType": "Command", "command": "true", "environmentId": CURATED}


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setitem(TYPES, FAN.name, FAN)
    return Harness(tmp_path)


def fan(harness: Harness, count: int, **properties: Any) -> Any:
    child = {**CHILD, **properties.pop("child", {})}
    return harness.put(f"{JOBS}/fan", {"properties": {"jobType": "Fan", "count": count, "child": child, **properties}})


def names(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        rows = resources.get_many(connection, resources.keys_of_kind(connection, JOB_KIND)).values()
    return sorted(row.name for row in rows if row.name != "fan")


def end_all(harness: Harness, exit_code: int = 0) -> int:
    """What runs now ends; how many tasks that were."""
    harness.settle()
    running = [name for name, state in harness.engine.states.items() if state.outcome is None]
    for name in running:
        harness.engine.finish(name, exit_code)
    harness.settle()
    return len(running)


def run_to_the_end(harness: Harness) -> None:
    while end_all(harness):
        harness.clock.pass_(1.0)  # the parent looks a moment later where many children are left
        harness.settle()


def counted(harness: Harness) -> dict[str, int]:
    with harness.database.read() as connection:
        return child_counts.counts(connection, harness.row(f"{JOBS}/fan").id)


def test_all_children_run_once_and_the_parent_ends_with_them(harness: Harness) -> None:
    assert fan(harness, 60, window=8).status_code == 201
    run_to_the_end(harness)
    assert status(harness, "fan") == "Completed"
    assert names(harness) == sorted(f"fan-{number}" for number in range(60))
    assert counted(harness) == {"Completed": 60}
    assert len(harness.engine.starts) == len(set(harness.engine.starts)) == 60


def test_a_failed_child_fails_its_parent_after_all_have_ended(harness: Harness) -> None:
    fan(harness, 3)
    harness.settle()
    first, *others = [name for name, state in harness.engine.states.items() if state.outcome is None]
    harness.engine.finish(first, 3)
    harness.settle()
    assert status(harness, "fan") == "Running"
    for name in others:
        harness.engine.finish(name, 0)
    run_to_the_end(harness)
    assert status(harness, "fan") == "Failed" and counted(harness) == {"Completed": 2, "Failed": 1}


def test_what_is_wrong_with_a_child_is_its_parents_error(harness: Harness) -> None:
    fan(harness, 3, child={"environmentId": "azureml:nothing:1"})
    harness.settle()
    row = harness.row(f"{JOBS}/fan")
    assert row.state == "Failed" and "nothing" in row.status["error"]["message"]
    assert names(harness) == []


def test_a_name_that_another_job_has_is_not_taken_over(harness: Harness) -> None:
    assert harness.put(f"{JOBS}/fan-1", {"properties": CHILD}).status_code == 201
    fan(harness, 3)
    run_to_the_end(harness)
    row = harness.row(f"{JOBS}/fan")
    assert row.state == "Failed" and "fan-1" in row.status["error"]["message"]
    assert status(harness, "fan-1") == "Completed"


def test_cancel_ends_what_runs_and_what_waits(harness: Harness) -> None:
    compute = cluster(harness, most=2)
    fan(harness, 40, child={"computeId": compute})
    harness.settle()
    assert len([state for state in harness.engine.states.values() if state.outcome is None]) == 2
    assert harness.send("POST", f"{JOBS}/fan/cancel").status_code == 202
    for _ in range(5):
        harness.settle()
        harness.clock.pass_(1.0)
    assert status(harness, "fan") == "Canceled" and counted(harness) == {"Canceled": 40}


def test_delete_takes_the_children_along(harness: Harness) -> None:
    fan(harness, 30)
    harness.settle()
    assert harness.send("DELETE", f"{JOBS}/fan").status_code == 202
    for _ in range(5):
        harness.settle()
        harness.clock.pass_(31.0)
    assert harness.get(f"{JOBS}/fan").status_code == 404 and names(harness) == []
    with harness.database.read() as connection:
        assert not connection.exec_driver_sql("SELECT * FROM child_count").all()


def test_a_child_that_is_deleted_is_not_waited_for(harness: Harness) -> None:
    fan(harness, 2)
    harness.settle()
    harness.send("DELETE", f"{JOBS}/fan-0")
    run_to_the_end(harness)
    assert status(harness, "fan") == "Completed" and counted(harness) == {"Completed": 1}


def test_lists_show_roots_and_a_parents_children(harness: Harness) -> None:
    fan(harness, 3)
    harness.settle()
    assert [one["name"] for one in harness.get(JOBS).json()["value"]] == ["fan"]
    task = harness.engine.tasks[harness.row(f"{JOBS}/fan-1").status["tasks"][0]]
    assert (task.variables["AZUREML_RUN_ID"], task.variables["AZUREML_ROOT_RUN_ID"]) == ("fan-1", "fan")
    (tags,) = [run["tags"] for (_, name), run in harness.tracking.runs.items() if name == "fan-2"]
    assert tags["mlflow.parentRunId"] == "fan"


def test_one_step_answers_for_many_ends(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's steps do not grow with its children: those that end in one second are looked at once, but for the last few."""
    steps: list[str] = []

    def counting(platform: Platform, row: Row) -> Step:
        steps.append(row.name)
        return FAN.step(platform, row)

    monkeypatch.setitem(TYPES, FAN.name, replace(FAN, step=counting))
    count = 3 * children.AT_ONCE
    fan(harness, count)
    harness.settle()
    submitting = len(steps)
    assert submitting <= 3 + 2
    while end_all(harness):
        pass
    assert counted(harness) == {"Completed": count}
    assert len(steps) - submitting <= 2 + child_counts.FEW + 1
    harness.clock.pass_(1.0)
    harness.settle()
    assert status(harness, "fan") == "Completed"
