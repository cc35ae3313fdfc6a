"""What is in a model's files is noted when it is registered, and held against what a replica finds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from fakes.deployments import BLUE, KEY, come_up, deploy, state
from fakes.examples import prepare
from fakes.platform import WORKSPACE, Harness
from smalt.arm.models import note_content
from smalt.kinds.assets import model_content
from smalt.kinds.assets.model import _note_content  # pyright: ignore[reportPrivateUsage]
from smalt.store import resources

MODEL = f"{WORKSPACE}/models/sealed/versions/1"
URI = "azureml://datastores/workspaceblobstore/paths/sealed"
SHOWN = "smalt.sha256"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def store(harness: Harness, **files: bytes) -> Path:
    prepare(harness, KEY)
    place = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    folder = harness.blobs.path(place["accountName"], place["containerName"], "sealed")
    for name, data in {"MLmodel": b"flavors: {}", **files}.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def register(harness: Harness, uri: str = URI, **more: Any) -> Any:
    answer = harness.put(MODEL, {"properties": {"modelUri": uri, "modelType": "mlflow_model", **more}})
    assert answer.status_code in (200, 201), answer.text
    harness.settle()
    return harness.get(MODEL).json()


def deploy_it(harness: Harness) -> Any:
    deploy(harness, model=f"{MODEL}")
    return harness.engine.tasks


def test_a_version_shows_the_hash_of_its_files_and_keeps_what_it_was_given(harness: Harness) -> None:
    store(harness, data__model_pkl=b"\x80\x04.")
    made = register(harness, properties={"team": "risk"})
    given = made["properties"]["properties"]
    assert len(given[SHOWN]) == 64 and given["team"] == "risk"
    assert harness.put(MODEL, made).status_code == 200, "what was read may be written back"
    assert SHOWN not in harness.row(MODEL).properties["properties"]
    assert harness.row(MODEL).status["content"]["files"] == {
        "MLmodel": sha(b"flavors: {}"),
        "data/model.pkl": sha(b"\x80\x04."),
    }


def test_the_hash_is_that_of_the_time_when_it_was_registered(harness: Harness) -> None:
    folder = store(harness)
    before = register(harness)["properties"]["properties"][SHOWN]
    (folder / "MLmodel").write_bytes(b"flavors: {other: {}}")
    assert register(harness, tags={"a": "b"})["properties"]["properties"][SHOWN] == before
    (task,) = deploy_it(harness).values()
    assert task.server.files == {"MLmodel": sha(b"flavors: {}")}, "the replica finds another, and says so"


def test_a_file_is_a_model_too_and_what_is_elsewhere_is_none(harness: Harness) -> None:
    store(harness, one_bin=b"numbers")
    made = harness.put(f"{WORKSPACE}/models/file/versions/1", {"properties": {"modelUri": f"{URI}/one.bin"}})
    assert made.status_code == 201
    away = harness.put(f"{WORKSPACE}/models/away/versions/1", {"properties": {"modelUri": "https://example.com/m"}})
    assert away.status_code == 201
    harness.settle()
    assert harness.row(f"{WORKSPACE}/models/file/versions/1").status["content"]["files"] == {"": sha(b"numbers")}
    assert "outside" in harness.row(f"{WORKSPACE}/models/away/versions/1").status["content"]["unknown"]
    assert SHOWN not in harness.get(f"{WORKSPACE}/models/away/versions/1").json()["properties"].get("properties", {})


def test_many_files_are_not_hashed_and_still_served(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_content, "FILES_MOST", 2)
    store(harness, a_txt=b"1", b_txt=b"2")
    assert SHOWN not in register(harness)["properties"].get("properties", {})
    (task,) = deploy_it(harness).values()
    assert task.server.files == {}


def test_a_pickle_is_warned_of_in_the_deployments_log(harness: Harness) -> None:
    store(harness, model_pkl=b"\x80\x04.")
    register(harness)
    deploy_it(harness)
    come_up(harness)
    assert state(harness) == "Succeeded"
    logs = harness.send("POST", f"{BLUE}/getLogs", {"tail": 50}).json()["content"]
    assert "loaded from pickles (model.pkl)" in logs


ONNX, TENSORS = b"\x08\x08", b"\x08\0\0\0\0\0\0\0{}"
PICKLE_OF_TEXT = b"cos\nsystem\n(S'true'\ntR."


@pytest.mark.parametrize(
    ("name", "data", "refused"),
    [
        ("model_pkl", b"\x80\x04.", "model.pkl"),
        ("model_onnx", b"\x80\x05.", "model.onnx"),
        ("model_skops", PICKLE_OF_TEXT, "model.skops"),
        ("model_safetensors", PICKLE_OF_TEXT, "model.safetensors"),
        ("notes_txt", PICKLE_OF_TEXT, "notes.txt"),
        ("config_json", b"\x80\x04.", "config.json"),
        ("config_yaml", b"a: \0", "config.yaml"),
        ("code__load_py", b"import os", "code/load.py"),
        ("weights_h5", b"x", "weights.h5"),
        ("model_skops", b"PK\x03\x04", ""),
        ("model_ONNX", ONNX, ""),
        ("model_SAFETENSORS", TENSORS, ""),
        ("requirements_txt", b"numpy", ""),
        ("empty_txt", b"", ""),
    ],
)
def test_a_platform_may_refuse_models_that_can_run_code(tmp_path: Path, name: str, data: bytes, refused: str) -> None:
    harness = Harness(tmp_path, models="safe")
    store(harness, **{name: data})
    register(harness)
    deploy_it(harness)
    if not refused:
        (task,) = harness.engine.tasks.values()
        assert task.server and task.server.sealed
        return
    assert state(harness) == "Failed" and not harness.engine.tasks
    said = harness.send("POST", f"{BLUE}/getLogs", {"tail": 50}).json()["content"]
    assert f"{refused} may hold more than numbers" in said and "skops, ONNX or safetensors" in said


def test_what_nobody_has_looked_at_is_not_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_content, "FILES_MOST", 2)
    harness = Harness(tmp_path, models="safe")
    store(harness, a_txt=b"1", zz_pkl=b"\x80\x04.")
    register(harness)
    deploy_it(harness)
    assert state(harness) == "Failed" and not harness.engine.tasks


def test_a_deployment_waits_for_the_hashes(harness: Harness) -> None:
    store(harness)
    harness.put(MODEL, {"properties": {"modelUri": URI, "modelType": "mlflow_model"}})  # not settled
    (task,) = deploy_it(harness).values()
    assert task.server.files == {"MLmodel": sha(b"flavors: {}")}


def test_hashes_of_a_version_that_was_made_anew_meanwhile_are_not_its_own(harness: Harness) -> None:
    store(harness)
    harness.put(MODEL, {"properties": {"modelUri": URI, "modelType": "mlflow_model"}})
    before = harness.row(MODEL)
    with harness.database.write() as connection:
        about = resources.get(connection, note_content(connection, before.written, before.created_at, 0.0))
    assert about is not None
    step = _note_content(harness.platform, about)
    harness.send("DELETE", MODEL)
    folder = store(harness)
    (folder / "MLmodel").write_bytes(b"flavors: {other: {}}")
    harness.put(MODEL, {"properties": {"modelUri": URI, "modelType": "mlflow_model"}})
    with harness.database.write() as connection:
        assert step.writes is not None
        step.writes(connection)
    harness.settle()
    assert harness.row(MODEL).status["content"]["files"] == {"MLmodel": sha(b"flavors: {other: {}}")}
