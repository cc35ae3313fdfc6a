"""Steps whose work was done before are completed at once, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from fakes.jobs import JOBS, status
from fakes.pipelines import FOLDER, child, component, data, job_of, node, run_to_the_end, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref

IN = "${{parent.inputs.raw}}"


def two(harness: Harness, name: str, rate: str = "0.1", more: Any = None, **properties: Any) -> list[str]:
    """Two steps, one after the other; those that ran."""
    jobs = {
        "one": node("azureml:part@latest", data=IN, rate=rate, more=more),
        "two": node("azureml:part@latest", data="${{parent.jobs.one.outputs.made}}"),
    }
    answer = submit(harness, jobs, name, **{"inputs": {"raw": data()}, **properties})
    assert answer.status_code == 201, answer.text
    ran = run_to_the_end(harness)
    assert status(harness, name) == "Completed"
    return ran


def test_the_same_again_runs_nothing_and_has_the_earlier_outputs(harness: Harness) -> None:
    component(harness, "part")
    assert two(harness, "first") == ["one", "two"]
    assert two(harness, "second") == []
    assert two(harness, "third") == []
    for step in ("one", "two"):
        again = child(harness, step, "third")
        assert again["properties"]["azureml.isreused"] == "true"
        assert again["properties"]["azureml.reusedrunid"] == job_of(harness, step, "first"), "the one that ran"
        assert again["outputs"]["made"]["uri"] == child(harness, step, "first")["outputs"]["made"]["uri"]
        run = harness.tracking.runs[WORKSPACE.lower(), job_of(harness, step, "third")]
        assert run["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        ({"rate": "0.2"}, ["one", "two"]),
        ({"more": {"environment_variables": {"A": "b"}}}, ["one", "two"]),
        ({"more": {"limits": {"timeout": "PT9M"}, "computeId": "local", "display_name": "Other"}}, []),
        ({"settings": {"force_rerun": True}}, ["one", "two"]),
        ({"inputs": {"raw": data(FOLDER + "other/")}}, ["one", "two"]),
    ],
)
def test_what_another_result_may_come_of_runs_again(harness: Harness, change: dict[str, Any], ran: list[str]) -> None:
    component(harness, "part")
    two(harness, "first")
    assert two(harness, "second", **change) == ran


def test_new_content_of_a_component_or_of_a_place_runs_again(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    component(harness, "part", "2")
    assert two(harness, "same") == [], "another version with the same content"
    account = str(harness.row(WORKSPACE).status["account"])
    container = str(harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties["containerName"])
    harness.blobs.write(Ref(account, container, "raw/new.csv"), b"1")
    assert two(harness, "files") == ["one", "two"]
    component(harness, "part", "3", command="python other.py")
    assert two(harness, "command") == ["one", "two"]


def test_nothing_is_reused_that_is_not_deterministic_has_its_own_place_or_is_gone(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    place = child(harness, "one", "first")["outputs"]["made"]["uri"].split("/paths/")[1]
    account = str(harness.row(WORKSPACE).status["account"])
    container = str(harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties["containerName"])
    harness.blobs.remove(account, container, place)
    assert two(harness, "gone") == ["one", "two"], "what needs another's new outputs runs, too"
    component(harness, "part", "2", is_deterministic=False)
    assert two(harness, "random") == ["one", "two"]
    own = {"made": {"job_output_type": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/mine/"}}
    for name in ("placed", "again"):
        answer = submit(harness, {"one": node("azureml:part:1", data=IN, outputs=own)}, name, inputs={"raw": data()})
        assert answer.status_code == 201
        assert run_to_the_end(harness) == ["one"]


def test_a_failed_step_is_no_earlier_result(harness: Harness) -> None:
    component(harness, "part")
    submit(harness, {"one": node("azureml:part:1", data=IN)}, "bad", inputs={"raw": data()})
    harness.settle()
    harness.engine.finish(harness.engine.starts[0], 1)
    harness.settle()
    assert status(harness, "bad") == "Failed"
    assert two(harness, "first") == ["one", "two"]


def test_an_earlier_step_is_found_by_an_index(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    asked: list[tuple[str, Any]] = []

    def seen(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "resource.lookup = ?" in statement and "created_at DESC" in statement:
            asked.append((statement, parameters))

    event.listen(harness.database._engine, "before_cursor_execute", seen)  # pyright: ignore[reportPrivateUsage]
    two(harness, "second")
    assert asked
    with harness.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1]).all()
    assert "resource_lookup" in str(plan), plan


def test_a_named_output_of_a_reused_step_is_registered_again(harness: Harness) -> None:
    component(harness, "part")
    named = {"made": {"job_output_type": "uri_folder", "name": "kept"}}
    for name in ("first", "second"):
        submit(harness, {"one": node("azureml:part:1", data=IN, outputs=named)}, name, inputs={"raw": data()})
        run_to_the_end(harness)
        assert status(harness, name) == "Completed"
    versions = [harness.get(f"{WORKSPACE}/data/kept/versions/{n}").json()["properties"]["dataUri"] for n in (1, 2)]
    assert versions[0] == versions[1]
    assert harness.get(f"{JOBS}/second").json()["properties"]["status"] == "Completed"
