"""Steps whose work was done before are completed at once, and only those."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from fakes.jobs import JOBS, status
from fakes.pipelines import FOLDER, child, component, data, job_of, node, run_to_the_end, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref
from smalt.kinds.jobs.model import TYPES
from smalt.kinds.jobs.pipelines import reuse
from smalt.store import resources

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
    harness.blobs.write(home(harness, "raw/new.csv"), b"1")
    assert two(harness, "files") == ["one", "two"]
    component(harness, "part", "3", command="python other.py")
    assert two(harness, "command") == ["one", "two"]


def home(harness: Harness, name: str) -> Ref:
    """A blob in the workspace's own store."""
    container = str(harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties["containerName"])
    return Ref(str(harness.row(WORKSPACE).status["account"]), container, name)


def test_a_blob_that_is_written_again_runs_again_though_its_size_is_the_same(harness: Harness) -> None:
    component(harness, "part")
    harness.blobs.write(home(harness, "raw/a.csv"), b"1")
    assert two(harness, "first") == ["one", "two"]
    assert two(harness, "second") == []
    harness.blobs.remove(*home(harness, "raw/a.csv"))
    harness.blobs.write(home(harness, "raw/a.csv"), b"2")
    assert two(harness, "third") == ["one", "two"]


def test_an_asset_version_that_is_made_again_runs_again(harness: Harness) -> None:
    component(harness, "part")
    url = f"{WORKSPACE}/data/raw/versions/1"
    made = {"properties": {"dataType": "uri_folder", "dataUri": FOLDER}}
    assert harness.put(url, made).status_code == 201
    given = {"inputs": {"raw": data("azureml:raw:1")}}
    assert two(harness, "first", **given) == ["one", "two"]
    assert two(harness, "second", **given) == []
    assert harness.send("DELETE", url).status_code == 200
    harness.settle()
    harness.clock.pass_(1.0)
    assert harness.put(url, made).status_code == 201
    assert two(harness, "third", **given) == ["one", "two"]


def test_what_cannot_be_seen_quickly_runs_again(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    component(harness, "part")
    outside = {"inputs": {"raw": data("https://example.com/raw.csv", "uri_file")}}
    for name in ("first", "second"):
        assert "one" in two(harness, name, **outside)
    monkeypatch.setattr(reuse, "_LISTED_MOST", 1)
    for name in ("a", "b"):
        harness.blobs.write(home(harness, f"raw/{name}.csv"), b"1")
    for name in ("third", "fourth"):
        assert "one" in two(harness, name)


def test_an_earlier_job_whose_datastore_is_gone_is_none(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    gone = {"made": {"uri": "azureml://datastores/gone/paths/x/", "jobOutputType": "uri_folder"}}
    with harness.database.write() as connection:
        resources.merge_status(
            connection, harness.row(f"{JOBS}/{job_of(harness, 'one', 'first')}").id, {"outputs": gone}
        )
    assert two(harness, "second") == ["one", "two"]


def test_another_default_datastore_is_another_place(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    harness.put(
        f"{WORKSPACE}/datastores/lake",
        {
            "properties": {
                "datastoreType": "AzureBlob",
                "accountName": harness.row(WORKSPACE).status["account"],
                "containerName": "lake",
                "credentials": {"credentialsType": "None"},
            }
        },
    )
    assert two(harness, "second", settings={"default_datastore": "lake"}) == ["one", "two"]
    assert "/datastores/lake/" in child(harness, "one", "second")["outputs"]["made"]["uri"]


def test_nothing_is_reused_that_is_not_deterministic_has_its_own_place_or_is_gone(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    place = child(harness, "one", "first")["outputs"]["made"]["uri"].split("/paths/")[1]
    harness.blobs.remove(*home(harness, place))
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


def test_rounds_of_a_loop_do_not_reuse_each_other_and_another_run_reuses_them(harness: Harness) -> None:
    part = component(harness, "part")
    inner = {"in": node(part, data=IN)}
    component(harness, "inner", type="pipeline", jobs=inner, inputs={"raw": {"type": "uri_folder"}}, outputs={})
    for name, ran in (("first", ["body_0", "body_1", "in", "in"]), ("second", [])):
        jobs = {
            "body": node(part, data=IN),
            "again": {"type": "do_while", "body": "${{parent.jobs.body}}", "limits": {"max_iteration_count": 2}},
            "whole": node("azureml:inner:1", type="pipeline", raw=IN),
            "both": {"type": "do_while", "body": "${{parent.jobs.whole}}", "limits": {"max_iteration_count": 2}},
        }
        assert submit(harness, jobs, name, inputs={"raw": data()}).status_code == 201
        assert sorted(run_to_the_end(harness)) == ran
        assert status(harness, name) == "Completed"


def test_files_are_looked_at_outside_of_transactions_that_write(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    component(harness, "part")
    writing, looked, write = [0], [0], harness.database.write

    @contextmanager
    def counted() -> Generator[Any]:
        with write() as connection:
            writing[0] += 1
            try:
                yield connection
            finally:
                writing[0] -= 1

    def watched(name: str) -> None:
        real = getattr(harness.blobs, name)

        def seen(*given: Any) -> Any:
            assert not writing[0], f"{name} while a transaction writes"
            looked[0] += 1
            return real(*given)

        monkeypatch.setattr(harness.blobs, name, seen)

    two(harness, "first")
    monkeypatch.setattr(harness.database, "write", counted)
    watched("list")
    watched("exists")
    assert two(harness, "second") == []
    assert looked[0] >= 3, "an input of one, and an output of each"


def test_an_earlier_job_that_goes_meanwhile_is_not_reused(harness: Harness) -> None:
    component(harness, "part")
    two(harness, "first")
    one = {"one": node("azureml:part:1", data=IN)}
    assert submit(harness, one, "second", inputs={"raw": data()}).status_code == 201
    row = harness.row(f"{JOBS}/second")
    step = TYPES["Pipeline"].step(harness.platform, row)
    harness.send("DELETE", f"{JOBS}/{job_of(harness, 'one', 'first')}")
    assert step.writes is not None
    with harness.database.write() as connection:
        step.writes(connection)
    assert child(harness, "one", "second")["status"] == "NotStarted"


def test_whether_a_pipeline_is_deterministic_holds_for_what_is_inside_at_any_depth(harness: Harness) -> None:
    part = component(harness, "part")
    ports: dict[str, Any] = {"type": "pipeline", "inputs": {"raw": {"type": "uri_folder"}}, "outputs": {}}
    component(harness, "inner", jobs={"in": node(part, data=IN)}, **ports)
    within = {"whole": node("azureml:inner:1", type="pipeline", raw=IN)}
    component(harness, "outer", jobs=within, **ports)
    component(harness, "outer", "2", jobs=within, is_deterministic=False, **ports)
    for name, outer, ran in (
        ("first", "1", ["in"]),
        ("same", "1", []),
        ("random", "2", ["in"]),
        ("again", "2", ["in"]),
    ):
        below = {"all": node(f"azureml:outer:{outer}", type="pipeline", raw=IN)}
        assert submit(harness, below, name, inputs={"raw": data()}).status_code == 201
        assert run_to_the_end(harness) == ran
        whole: dict[str, Any] = {"componentId": f"azureml:outer:{outer}", "inputs": {"raw": data()}}
        assert submit(harness, {}, f"{name}-whole", **whole).status_code == 201
        assert run_to_the_end(harness) == (ran if outer == "2" else []), "a job that is the component, too"
