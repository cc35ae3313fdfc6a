"""Lineage: from what jobs, data, models and deployments came, and what came of them."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import deployments, pipelines, sweeps
from fakes.examples import EXAMPLES
from fakes.jobs import JOBS, run, submit
from fakes.platform import WORKSPACE, Harness
from smalt.arm.hub import Hub
from smalt.arm.models import ModelRows
from smalt.arm.ports import ModelVersion, Principal
from smalt.kinds.jobs import earlier
from smalt.store import lineage, resources
from smalt.store.lineage import KEPT_S
from smalt.store.lineage_tables import departed, written_place
from smalt.store.lineage_tables import lineage as table

STORE = "azureml://datastores/workspaceblobstore/paths"
DATA, MODELS = f"{WORKSPACE}/data", f"{WORKSPACE}/models"
CODE = f"{WORKSPACE}/codes/c0de/versions/1"
BLUE = f"{WORKSPACE}/onlineEndpoints/churn-scores/deployments/blue"


def data(harness: Harness, name: str = "raw", version: str = "1", uri: str = f"{STORE}/LocalUpload/a/raw/") -> Any:
    answer = harness.put(
        f"{DATA}/{name}/versions/{version}", {"properties": {"dataUri": uri, "dataType": "uri_folder"}}
    )
    assert answer.status_code == 201, answer.text
    return answer


def model(harness: Harness, uri: str, version: str = "1", name: str = "churn-model") -> None:
    properties = {"modelUri": uri, "modelType": "mlflow_model"}
    answer = harness.put(f"{MODELS}/{name}/versions/{version}", {"properties": properties})
    assert answer.status_code == 201, answer.text
    harness.settle()


def reads(uri: str) -> dict[str, Any]:
    return {"jobInputType": "uri_folder", "uri": uri}


def graph(harness: Harness, url: str, **query: Any) -> Any:
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    answer = harness.get(f"{url}/lineage?{asked}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def short(key: str) -> str:
    """jobs/prep of a job's key, data/raw/1 of a version's."""
    name, _, gone = key.removeprefix(f"{WORKSPACE}/".lower()).partition("@")
    return name.replace("/versions/", "/").replace("onlineendpoints/", "") + ("@" if gone else "")


def steps(shown: Any) -> set[tuple[str, str, str]]:
    return {(short(one["from"]), one.get("name", one["what"]), short(one["to"])) for one in shown["edges"]}


def node(shown: Any, name: str) -> Any:
    (found,) = [one for one in shown["nodes"] if short(one["key"]) == name]
    return found


def chain(harness: Harness) -> None:
    """raw → prep → clean → train → churn-model → blue"""
    data(harness)
    harness.put(CODE, EXAMPLES["workspaces/codes/versions"].body())
    named = {"table": {"jobOutputType": "uri_folder", "assetName": "clean"}}
    run(harness, "prep", inputs={"in": reads("azureml:raw:1")}, outputs=named)
    git = {"azureml.git.branch": "main", "mlflow.source.git.commit": "abc", "azureml.git.dirty": "False"}
    rate = {"jobInputType": "literal", "value": "0.1"}
    run(
        harness,
        "train",
        codeId=CODE,
        inputs={"table": reads("azureml:clean@latest"), "rate": rate},
        outputs={"model": {"jobOutputType": "mlflow_model"}},
        properties=git,
        environmentVariables={"TOKEN": "hush"},
    )
    model(harness, "azureml://jobs/train/outputs/model/paths/")


def serve(harness: Harness) -> None:
    for kind in ("workspaces/onlineendpoints", "workspaces/codes/versions"):
        harness.put(EXAMPLES[kind].url, EXAMPLES[kind].body())
    place = harness.row(f"{WORKSPACE}".lower()).status["account"]
    container = harness.get(f"{WORKSPACE}/datastores/workspaceblobstore").json()["properties"]["containerName"]
    for name in ("azureml/train/model/MLmodel", "azureml/train/model/two/MLmodel", "code/score.py"):
        path = harness.blobs.path(place, container, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"flavors: {}")
    deployments.deploy(harness)
    deployments.come_up(harness)


def test_a_model_says_from_what_it_was_made_and_who_serves_it(harness: Harness) -> None:
    chain(harness)
    serve(harness)
    key = harness.row(f"{JOBS}/train").spec["smalt"]["plan"]["key"]
    harness.environments.locks[key] = {"numpy": "2.1.0"}
    shown = graph(harness, f"{MODELS}/churn-model/versions/1")
    assert steps(shown) == {
        ("data/raw/1", "in", "jobs/prep"),
        ("jobs/prep", "table", "data/clean/1"),
        ("data/clean/1", "table", "jobs/train"),
        ("jobs/train", "model", "models/churn-model/1"),
        ("models/churn-model/1", "model", "churn-scores/deployments/blue"),
    }
    assert not shown["truncated"]
    distances = {short(one["key"]): one["distance"] for one in shown["nodes"]}
    assert (distances["jobs/train"], distances["data/raw/1"], distances["churn-scores/deployments/blue"]) == (-1, -4, 1)
    made = node(shown, "jobs/train")
    assert made["state"] == "Completed" and made["createdBy"] == "ada"
    origin = made["origin"]
    assert origin["code"] == {"id": CODE, "hash": "abc"}
    assert origin["git"] == {
        "azureml.git.branch": "main",
        "mlflow.source.git.commit": "abc",
        "azureml.git.dirty": "False",
    }
    assert origin["parameters"] == {"rate": "0.1"} and origin["environment"]["key"] == key
    assert "hush" not in str(shown)
    assert shown["environments"] == {key: {"numpy": "2.1.0"}}
    assert node(shown, "churn-scores/deployments/blue")["origin"]["endpoint"] == "churn-scores"


def test_depth_and_direction_bound_the_answer(harness: Harness) -> None:
    chain(harness)
    url = f"{DATA}/clean/versions/1"
    assert steps(graph(harness, url, direction="upstream", depth=1)) == {("jobs/prep", "table", "data/clean/1")}
    assert graph(harness, url, direction="upstream", depth=1)["truncated"]
    assert not graph(harness, url, direction="upstream", depth=2)["truncated"]
    assert steps(graph(harness, url, direction="downstream")) == {
        ("data/clean/1", "table", "jobs/train"),
        ("jobs/train", "model", "models/churn-model/1"),
    }
    for query, target in (
        ("depth=0", "depth"),
        ("depth=x", "depth"),
        ("depth=21", "depth"),
        ("direction=up", "direction"),
    ):
        answer = harness.get(f"{url}/lineage?{query}")
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)
    assert harness.get(f"{DATA}/none/versions/1/lineage").status_code == 404


def test_what_reads_another_jobs_output_by_its_path_came_of_that_job(harness: Harness) -> None:
    mine = {
        "made": {"jobOutputType": "uri_folder"},
        "own": {"jobOutputType": "uri_folder", "uri": f"{STORE}/daily/one/"},
    }
    run(harness, "first", outputs=mine)
    run(
        harness,
        "second",
        inputs={
            "by_job": reads("azureml://jobs/first/outputs/made"),
            "by_place": reads(f"{STORE}/azureml/first/made/part"),
            "own": reads(f"{STORE}/daily/one/x/y"),
            "above": reads(f"{STORE}/daily"),
            "other": reads(f"{STORE}/dail"),
            "left": reads("runs:/first/model"),
            "version": reads("azureml:azureml_first_output_data_made:1"),
        },
    )
    shown = graph(harness, f"{JOBS}/second")
    assert {name for _, name, _ in steps(shown)} == {"by_job", "by_place", "own", "above", "left", "version"}
    assert {source for source, _, _ in steps(shown)} == {"jobs/first"}
    data(harness, "daily", uri=f"{STORE}/daily/one")
    data(harness, "again", uri="azureml:daily:1")
    assert steps(graph(harness, f"{DATA}/again/versions/1")) == {
        ("jobs/first", "own", "data/daily/1"),
        ("data/daily/1", "files", "data/again/1"),
    }


def test_the_last_who_began_to_write_to_a_place_made_what_is_there(harness: Harness) -> None:
    out = {"own": {"jobOutputType": "uri_folder", "uri": f"{STORE}/daily/"}}
    for name in ("monday", "tuesday"):
        run(harness, name, outputs=out)
    submit(harness, "waits", outputs=out)
    submit(harness, "reader", inputs={"x": reads(f"{STORE}/daily/")})
    assert steps(graph(harness, f"{JOBS}/reader")) == {("jobs/tuesday", "x", "jobs/reader")}


def test_steps_of_a_pipeline_came_of_each_other_and_its_asset_of_the_step_that_wrote_it(harness: Harness) -> None:
    part = pipelines.component(harness, "part")
    data(harness)
    jobs = {
        "prepare": pipelines.node(part, data="${{parent.inputs.raw}}"),
        "train": pipelines.node(
            part, data="${{parent.jobs.prepare.outputs.made}}", outputs={"made": "${{parent.outputs.result}}"}
        ),
    }
    outputs = {"result": {"jobOutputType": "uri_folder", "assetName": "result"}}
    pipelines.submit(harness, jobs, inputs={"raw": pipelines.data("azureml:raw:1")}, outputs=outputs)
    pipelines.run_to_the_end(harness)
    prepare, train = (f"jobs/{pipelines.job_of(harness, step)}" for step in ("prepare", "train"))
    shown = graph(harness, f"{DATA}/result/versions/1")
    assert steps(shown) == {("data/raw/1", "data", prepare), (prepare, "data", train), (train, "made", "data/result/1")}
    assert node(shown, train)["origin"]["parent"] == "pipe"


def test_the_asset_of_a_sweep_is_of_its_best_trial(harness: Harness) -> None:
    data(harness)
    outputs = {"model": {"jobOutputType": "mlflow_model", "assetName": "tuned"}}
    trial = {**sweeps.TRIAL, "command": "train ${{search_space.lr}} ${{outputs.model}} ${{inputs.x}}"}
    sweeps.sweep(harness, trials=2, outputs=outputs, trial=trial, inputs={"x": reads("azureml:raw:1")})
    harness.settle()
    sweeps.end(harness, "tune_0", 0.4)
    sweeps.end(harness, "tune_1", 0.9)
    shown = graph(harness, f"{MODELS}/tuned/versions/1")
    assert steps(shown) == {("data/raw/1", "x", "jobs/tune_1"), ("jobs/tune_1", "model", "models/tuned/1")}
    assert node(shown, "jobs/tune_1")["origin"]["parent"] == "tune"


def test_what_mlflow_registers_is_of_its_run(harness: Harness) -> None:
    run(harness, "train")
    rows = ModelRows(harness.database, Hub(), harness.clock)
    uri = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.train/model"
    version = ModelVersion(workspace=WORKSPACE.lower(), name="logged", version="1", uri=uri, job="train")
    rows.register(version, "ada")
    rows.register(version, "ada")
    assert steps(graph(harness, f"{MODELS}/logged/versions/1")) == {("jobs/train", "model", "models/logged/1")}


def test_what_is_deleted_is_told_of_for_as_long_as_something_came_of_it(harness: Harness) -> None:
    chain(harness)
    harness.send("DELETE", f"{JOBS}/train")
    harness.settle()
    shown = graph(harness, f"{MODELS}/churn-model/versions/1")
    gone = node(shown, "jobs/train@")
    assert gone["state"] == "Deleted" and gone["deletedAt"] and gone["origin"]["code"]["hash"] == "abc"
    assert "hush" not in str(shown)
    submit(harness, "train")  # another one of the name
    assert ("jobs/train@", "model", "models/churn-model/1") in steps(graph(harness, f"{MODELS}/churn-model/versions/1"))
    assert steps(graph(harness, f"{JOBS}/train")) == set()
    harness.clock.pass_(KEPT_S + 1)
    with harness.database.write() as connection:
        assert lineage.forget(connection, harness.clock()) == 1
        assert lineage.forget(connection, harness.clock()) == 0
    assert len(steps(graph(harness, f"{MODELS}/churn-model/versions/1"))) == 4, "the model is there"
    for version in (f"{MODELS}/churn-model", f"{DATA}/clean"):
        harness.send("DELETE", f"{version}/versions/1")
    harness.settle()
    assert len(graph(harness, f"{MODELS}/churn-model/versions/1")["edges"]) == 4, "it was there"
    harness.clock.pass_(KEPT_S + 1)
    with harness.database.write() as connection:
        lineage.forget(connection, harness.clock())
    with harness.database.read() as connection:
        left = {short(one) for row in connection.execute(table.select()) for one in (row.source, row.target)}
        assert left == {"data/raw/1", "jobs/prep", "data/clean/1"}, "raw and prep are there"
        assert {short(row.id) for row in connection.execute(departed.select())} == {"data/clean/1"}
    assert harness.get(f"{MODELS}/churn-model/versions/1/lineage").status_code == 404


def test_a_deployment_has_served_what_it_does_not_serve_any_more(harness: Harness) -> None:
    chain(harness)
    serve(harness)
    model(harness, "azureml://jobs/train/outputs/model/paths/two/", version="2")
    deployments.deploy(harness, model="azureml:churn-model:2")
    assert steps(graph(harness, BLUE, depth=1)) == {("models/churn-model/1", "model", "churn-scores/deployments/blue")}
    deployments.come_up(harness)
    shown = graph(harness, BLUE, depth=1)
    until = {short(one["from"]): "until" in one for one in shown["edges"]}
    assert until == {"models/churn-model/1": True, "models/churn-model/2": False}
    harness.send("DELETE", BLUE)
    harness.settle()
    (edge,) = graph(harness, f"{MODELS}/churn-model/versions/2", direction="downstream")["edges"]
    assert edge["until"] and short(edge["to"]).endswith("blue@")


def test_a_reader_sees_what_he_may_read(harness: Harness) -> None:
    chain(harness)
    harness.grants.prefixes = [f"{DATA}/clean".lower(), f"{JOBS}/train".lower(), f"{MODELS}".lower()]
    harness.caller = Principal(oid="x", name="bob", kind="servicePrincipal", tenant="t")
    shown = graph(harness, f"{MODELS}/churn-model/versions/1")
    assert {short(one["key"]) for one in shown["nodes"]} == {"models/churn-model/1", "jobs/train", "data/clean/1"}


def test_a_large_graph_is_cut_off_and_says_so(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    data(harness)
    for number in range(6):
        submit(harness, f"reader-{number}", inputs={"x": reads("azureml:raw:1")})
    monkeypatch.setattr("smalt.kinds.assets.lineage._EDGES_MOST", 4)
    shown = graph(harness, f"{DATA}/raw/versions/1")
    assert (len(shown["edges"]), shown["truncated"]) == (4, True)


def test_rows_of_before_get_their_edges_piece_by_piece(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    chain(harness)
    serve(harness)
    run(harness, "own", outputs={"o": {"jobOutputType": "uri_folder", "uri": f"{STORE}/daily/"}})
    submit(harness, "reader", inputs={"x": reads(f"{STORE}/daily/")})
    with harness.database.read() as connection:
        before = {tuple(row)[:6] for row in connection.execute(table.select())}
    assert len(before) == 6
    monkeypatch.setattr(earlier, "_AT_ONCE", 7)
    with harness.database.write() as connection:
        connection.execute(table.delete())
        connection.execute(written_place.delete())
        earlier.watch(connection, harness.clock())
    for _ in range(100):
        harness.clock.pass_(0.1)
        harness.settle()
        with harness.database.read() as connection:
            row = resources.get(connection, "/smalt/earlierrows/all")
        if row is not None and row.state == "Succeeded":
            break
    with harness.database.read() as connection:
        assert {tuple(row)[:6] for row in connection.execute(table.select())} == before
    with harness.database.write() as connection:
        earlier.watch(connection, harness.clock())
    assert harness.row("/smalt/earlierrows/all").due_at is None


def test_clients_read_who_made_a_version_and_write_back_what_they_read(harness: Harness) -> None:
    chain(harness)
    url = f"{MODELS}/churn-model/versions/1"
    shown = harness.get(url).json()["properties"]
    assert shown["properties"]["smalt.made_by"] == "train"
    assert harness.get(f"{DATA}/clean/versions/1").json()["properties"]["properties"] == {"smalt.made_by": "prep"}
    assert harness.get(f"{JOBS}/train").json()["properties"]["properties"]["smalt.made"] == "model:churn-model:1"
    assert "smalt.made" not in str(harness.get(JOBS).json())
    answer = harness.put(url, {"properties": {**shown, "properties": {**shown["properties"], "mine": "1"}}})
    assert answer.status_code == 200, answer.text
    assert harness.row(url.lower()).properties["properties"] == {"mine": "1"}
    submit(harness, "again", properties=harness.get(f"{JOBS}/prep").json()["properties"]["properties"])
    assert harness.row(f"{JOBS}/again").properties["properties"] == {}
