"""From what a job was made, and what of it has changed since."""

from __future__ import annotations

from typing import Any

from fakes.jobs import JOBS, cluster, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref
from smalt.kinds.jobs.provenance import FILES_MOST
from smalt.settings import PLATFORM_ACCOUNT
from smalt.store import nodes


def place(harness: Harness) -> tuple[str, str]:
    store = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]
    return store["accountName"].rpartition("/")[2], store["containerName"]


def write(harness: Harness, name: str, data: bytes) -> None:
    path = harness.blobs.path(*place(harness), name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def provenance(harness: Harness, job: str = "train-1", now: bool = False) -> Any:
    answer = harness.get(f"{JOBS}/{job}/provenance{'?now=true' if now else ''}")
    assert answer.status_code == 200, answer.text
    return answer.json()


FOLDER = {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/train/"}


def test_what_inputs_held_is_noted_before_the_job_runs_and_compared(harness: Harness) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        write(harness, f"train/{name}", b"1,2\n")
    write(harness, "training/other.csv", b"not below the folder")
    git = {"azureml.git.branch": "main", "mlflow.source.git.commit": "abc", "mine": "1"}
    rate = {"jobInputType": "literal", "value": "0.1"}
    submit(harness, inputs={"data": FOLDER, "rate": rate}, properties=git)
    harness.settle()
    assert status(harness) == "Starting"
    key = harness.row(f"{JOBS}/train-1").spec["smalt"]["plan"]["key"]
    harness.environments.locks[key] = {"numpy": "2.1.0"}
    said = provenance(harness)
    content = said["inputs"]["data"]["content"]
    assert (content["files"], content["bytes"], sorted(content["names"])) == (3, 12, ["a.csv", "b.csv", "c.csv"])
    assert said["parameters"] == {"rate": "0.1"}
    assert said["environment"]["lock"] == {"numpy": "2.1.0"}
    assert said["git"] == {"azureml.git.branch": "main", "mlflow.source.git.commit": "abc"}
    assert provenance(harness, now=True)["changes"] == {}
    write(harness, "train/b.csv", b"3,4,5\n")
    write(harness, "train/new.csv", b"x")
    harness.blobs.remove(*place(harness), "train/a.csv")
    assert provenance(harness, now=True)["changes"] == {
        "data": {"added": ["new.csv"], "removed": ["a.csv"], "changed": ["b.csv"]}
    }


def test_names_that_begin_alike_are_not_counted(harness: Harness) -> None:
    """As a folder without a slash at its end, and as a file, which has neighbours."""
    for name in ("v1/a.csv", "v10/b.csv", "v1.csv", "one.csv", "one.csv.gz"):
        write(harness, name, b"1\n")
    folder = {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/v1"}
    file = {"jobInputType": "uri_file", "uri": "azureml://datastores/workspaceblobstore/paths/one.csv"}
    submit(harness, inputs={"folder": folder, "file": file})
    harness.settle()
    inputs = provenance(harness)["inputs"]
    assert inputs["folder"]["content"]["files"] == inputs["file"]["content"]["files"] == 1
    write(harness, "v10/b.csv", b"other\n")
    write(harness, "one.csv.gz", b"other\n")
    assert provenance(harness, now=True)["changes"] == {}


def test_a_large_folder_is_not_listed_whole_and_holds_nothing_up(harness: Harness) -> None:
    for number in range(FILES_MOST + 5):
        write(harness, f"train/{number:05}", b"")
    submit(harness, inputs={"data": FOLDER})
    harness.settle()
    assert status(harness) == "Starting"
    assert provenance(harness)["inputs"]["data"]["content"] is None
    assert provenance(harness, now=True)["changes"] == {"data": {"unknown": True}}


def test_the_jobs_tasks_do_not_wait_for_the_list(harness: Harness, monkeypatch: Any) -> None:
    write(harness, "train/a.csv", b"1")
    listed, begun = type(harness.blobs).list, list[int]()

    def list_(blobs: Any, *place: str) -> Any:
        begun.append(len(harness.engine.tasks))
        return listed(blobs, *place)

    monkeypatch.setattr(type(harness.blobs), "list", list_)
    submit(harness, inputs={"data": FOLDER})
    harness.settle()
    assert begun == [1]
    assert provenance(harness)["inputs"]["data"]["content"]["files"] == 1


def test_a_store_that_fails_holds_nothing_up(harness: Harness, monkeypatch: Any) -> None:
    submit(harness, inputs={"data": FOLDER})

    def broken(*_: object) -> Any:
        raise OSError("the store is away")

    monkeypatch.setattr(harness.blobs, "list", broken)
    harness.settle()
    assert status(harness) == "Starting"


def test_a_file_that_changed_or_is_gone_is_called_by_its_name(harness: Harness) -> None:
    for name in ("one.csv", "two.csv"):
        write(harness, f"train/{name}", b"1\n")
    inputs = {
        name: {"jobInputType": "uri_file", "uri": f"azureml://datastores/workspaceblobstore/paths/train/{name}.csv"}
        for name in ("one", "two")
    }
    submit(harness, inputs=inputs)
    harness.settle()
    write(harness, "train/one.csv", b"1,2\n")
    harness.blobs.remove(*place(harness), "train/two.csv")
    nothing: dict[str, list[str]] = {"added": [], "removed": [], "changed": []}
    assert provenance(harness, now=True)["changes"] == {
        "one": {**nothing, "changed": ["one.csv"]},
        "two": {**nothing, "removed": ["two.csv"]},
    }


def test_what_a_table_names_outside_of_its_folder_counts(harness: Harness) -> None:
    store = "azureml://datastores/workspaceblobstore/paths"
    paths = f"- file: ./a.csv\n- file: {store}/far/b.csv\n- folder: {store}/wide/\n- pattern: {store}/deep/*/x.csv\n"
    write(harness, "table/MLTable", f"type: mltable\npaths:\n{paths}".encode())
    for name in ("table/a.csv", "far/b.csv", "far/other.csv", "wide/c.csv", "deep/1/x.csv"):
        write(harness, name, b"1\n")
    submit(harness, inputs={"table": {"jobInputType": "mltable", "uri": f"{store}/table/"}})
    harness.settle()
    assert provenance(harness)["inputs"]["table"]["content"]["files"] == 5
    write(harness, "far/other.csv", b"not in it\n")
    assert provenance(harness, now=True)["changes"] == {}
    write(harness, "far/b.csv", b"1,2\n")
    write(harness, "deep/2/x.csv", b"1\n")
    (change,) = provenance(harness, now=True)["changes"].values()
    assert change == {"added": [f"{store}/deep/2/x.csv"], "removed": [], "changed": [f"{store}/far/b.csv"]}


def test_a_table_that_cannot_be_read_is_unknown(harness: Harness) -> None:
    write(harness, "table/MLTable", b"{{{")
    uri = "azureml://datastores/workspaceblobstore/paths/table/"
    submit(harness, inputs={"table": {"jobInputType": "mltable", "uri": uri}})
    harness.settle()
    assert provenance(harness, now=True)["changes"] == {"table": {"unknown": True}}


def test_an_asset_that_is_gone_or_leads_elsewhere_is_said(harness: Harness) -> None:
    versions = f"{WORKSPACE}/data/raw/versions/1"
    store = "azureml://datastores/workspaceblobstore/paths"
    write(harness, "old/a.csv", b"1\n")
    write(harness, "new/a.csv", b"2,2\n")
    assert harness.put(versions, {"properties": {"dataUri": f"{store}/old/"}}).status_code == 201
    submit(harness, inputs={"data": {"jobInputType": "uri_folder", "uri": "azureml:raw:1"}})
    harness.settle()
    assert provenance(harness, now=True)["changes"] == {}
    harness.send("DELETE", versions)
    (change,) = provenance(harness, now=True)["changes"].values()
    assert list(change) == ["gone"] and "raw" in change["gone"]
    assert harness.put(versions, {"properties": {"dataUri": f"{store}/new/"}}).status_code == 201
    (change,) = provenance(harness, now=True)["changes"].values()
    assert [one.rpartition("/paths/")[2] for one in change["moved"]] == ["old/", "new/"]
    assert change["changed"] == ["a.csv"]


def test_the_versions_of_a_machine_of_its_own_are_those_that_it_has_said(harness: Harness) -> None:
    cluster(harness)
    with harness.database.write() as connection:
        nodes.add(connection, "far-1", f"{WORKSPACE}/computes/cpu".lower(), {}, harness.clock())
        now = harness.clock()
        nodes.note(connection, "far-1", state=nodes.CONNECTED, cpus=2, memory_bytes=8 << 30, seen_at=now)
    submit(harness, computeId=f"{WORKSPACE}/computes/cpu")
    harness.settle()
    (name,) = harness.row(f"{JOBS}/train-1").status["tasks"]
    task = harness.engine.tasks[name]
    assert task.node == "far-1"
    harness.environments.locks[task.environment] = {"numpy": "1.0.0"}  # what this server's own would have
    assert provenance(harness)["environment"]["lock"] is None
    place = Ref(*task.build["versions"])
    assert place in task.written() and place.account == PLATFORM_ACCOUNT
    harness.blobs.write(place, b'{"numpy": "2.1.0"}')
    harness.engine.start(name)
    harness.engine.finish(name, 0)
    harness.settle()
    assert status(harness) == "Completed"
    assert provenance(harness)["environment"]["lock"] == {"numpy": "2.1.0"}
    told = harness.get(f"{JOBS}/train-1/lineage").json()
    assert told["environments"] == {}, "not what another machine would have"
    assert told["nodes"][0]["origin"]["environment"]["machines"] == ["far-1"]
    assert harness.send("DELETE", f"{JOBS}/train-1").status_code in (200, 202)
    harness.settle()
    assert harness.blobs.read(*place, 100) is None
