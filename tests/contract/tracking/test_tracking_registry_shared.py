"""The registry with MLflow's real process: what its API does is in ARM's rows, and what ARM has its API shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.wire import Ref
from smalt.arm.ports import ModelVersion, RunSpec
from smalt.store import resources
from smalt.tracking.address import artifact_root
from smalt.tracking.models.registered_models import RegisteredModels

API = "/api/2.0/mlflow"


def call(site: Any, method: str, path: str, status: int = 200, **body: Any) -> Any:
    with site.client() as client:
        options: dict[str, Any] = {"params": body} if method == "GET" else {"json": body}
        answer = client.request(method, f"{API}/{path}", **options)
    assert answer.status_code == status, answer.text
    return answer.json()


def row(site: Any, name: str, version: str = "") -> resources.Row | None:
    id_ = site.alpha.child("models", name)
    with site.database.read() as connection:
        return resources.get(connection, (id_.child("versions", version) if version else id_).key)


def register(site: Any, name: str, **body: Any) -> Any:
    return call(site, "POST", "model-versions/create", name=name, **body)["model_version"]


@pytest.fixture
def run(site: Any) -> str:
    """The artifact URI of the run of the job that ARM has."""
    site.tracking.ensure_run(RunSpec(site.alpha.key, "a-registered-job", "jobs"))
    return site.tracking.artifact_uri(site.alpha.key, "a-registered-job")


def test_the_life_of_a_model_in_mlflow_is_seen_in_arm(site: Any, run: str) -> None:
    call(site, "POST", "registered-models/create", name="life", description="All", tags=[{"key": "t", "value": "x"}])
    above = row(site, "life")
    assert above is not None and (above.properties["description"], above.properties["tags"]) == ("All", {"t": "x"})
    assert register(site, "life", source=f"{run}/model", run_id="a-registered-job", description="d")["version"] == "1"
    found = row(site, "life", "1")
    assert found is not None and found.created_by == "tester"
    store = "azureml://datastores/workspaceartifactstore/paths"
    assert found.properties["modelUri"] == f"{store}/ExperimentRun/dcid.a-registered-job/model"
    assert (found.properties["jobName"], found.properties["description"]) == ("a-registered-job", "d")
    call(site, "POST", "model-versions/set-tag", name="life", version="1", key="a", value="b")
    call(site, "PATCH", "model-versions/update", name="life", version="1", description="new")
    changed = row(site, "life", "1")
    assert changed is not None
    assert (changed.properties["tags"], changed.properties["description"]) == ({"a": "b"}, "new")
    call(site, "DELETE", "model-versions/delete-tag", name="life", version="1", key="a")
    register(site, "life", source=f"{run}/model", run_id="a-registered-job")
    moved = {"version": "2", "stage": "Production", "archive_existing_versions": False}
    call(site, "POST", "model-versions/transition-stage", name="life", **moved)
    second, first = row(site, "life", "2"), row(site, "life", "1")
    assert second is not None and second.properties["stage"] == "Production"
    assert first is not None and first.properties["tags"] == {}
    call(site, "DELETE", "model-versions/delete", name="life", version="1")
    assert row(site, "life", "1") is None and row(site, "life", "2") is not None
    call(site, "DELETE", "registered-models/delete", name="life")
    assert row(site, "life") is None and row(site, "life", "2") is None


def test_sources_that_mlflow_alone_would_refuse(site: Any, run: str) -> None:
    made = register(site, "sources", source="azureml://jobs/a-registered-job/outputs/artifacts/paths/model")
    assert (made["source"], made["run_id"]) == (f"{run}/model", "a-registered-job")
    loose = register(site, "sources", source="azureml://artifacts/LocalUpload/x/model")
    expected = f"{artifact_root(site.settings, site.alpha)}/LocalUpload/x/model"
    assert loose["source"] == expected
    answer = call(site, "GET", "model-versions/get-download-uri", name="sources", version=loose["version"])
    assert answer["artifact_uri"] == expected


def test_what_arm_has_mlflow_counts_shows_and_opens(site: Any, run: str) -> None:
    models = RegisteredModels(site.tracking)
    place = {"container": "azureml-blobstore-1", "path": "LocalUpload/h/saved"}
    file = Ref(site.account_of(site.alpha.key), place["container"], f"{place['path']}/MLmodel")
    site.blobs.write(file, b"flavors: {}\n")
    models.ensure_model(site.alpha.key, "from-arm", "All", {"t": "x"})
    made = ModelVersion(site.alpha.key, "from-arm", "3", "azureml://x", **place, tags={"a": "b"}, created_at=1000.0)
    models.ensure_version(made)
    found = call(site, "GET", "model-versions/search", filter="name = 'from-arm'")["model_versions"]
    assert [(one["version"], one["tags"], one["status"]) for one in found] == [
        ("3", [{"key": "a", "value": "b"}], "READY")
    ]
    model = call(site, "GET", "registered-models/get", name="from-arm")["registered_model"]
    assert (model["description"], model["tags"]) == ("All", [{"key": "t", "value": "x"}])
    assert register(site, "from-arm", source=f"{run}/model", run_id="a-registered-job")["version"] == "4"
    models.remove_version(site.alpha.key, "from-arm", "4")
    call(site, "GET", "model-versions/get", 404, name="from-arm", version="4")
    assert register(site, "from-arm", source=f"{run}/model", run_id="a-registered-job")["version"] == "5"
    models.ensure_version(made)
    with site.client() as client:
        by_mlflow = client.get("/model-versions/get-artifact?name=from-arm&version=3&path=MLmodel")
        listed = client.get("/api/2.0/mlflow-artifacts/artifacts?path=RegisteredModel/from-arm.3/saved").json()
        url = "/api/2.0/mlflow-artifacts/artifacts/RegisteredModel/from-arm.3/saved/MLmodel"
        assert client.get(url).text == by_mlflow.text == "flavors: {}\n"
        assert listed == {"files": [{"path": "MLmodel", "is_dir": False, "file_size": 12}]}
        assert client.put(url, content=b"x").status_code == client.delete(url).status_code == 403
    assert site.blobs.read(*file, 100) == b"flavors: {}\n"
    models.remove_model(site.alpha.key, "from-arm")
    call(site, "GET", "registered-models/get", 404, name="from-arm")


def test_prompts_are_no_models_and_renaming_is_refused(site: Any) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    call(site, "POST", "registered-models/create", name="a-prompt", tags=tags)
    assert row(site, "a-prompt") is None
    call(site, "POST", "registered-models/create", name="kept")
    call(site, "POST", "registered-models/rename", 400, name="kept", new_name="other")
    call(site, "POST", "registered-models/create", 409, name="KEPT")
    call(site, "POST", "registered-models/create", 400, name="with space")


def test_a_copy_made_by_the_client_outlives_its_original(site: Any, tmp_path: Path) -> None:
    models = RegisteredModels(site.tracking)
    place = {"container": "azureml-blobstore-1", "path": "LocalUpload/copied/saved"}
    file = Ref(site.account_of(site.alpha.key), place["container"], f"{place['path']}/weights")
    site.blobs.write(file, b"w")
    models.ensure_version(ModelVersion(site.alpha.key, "original", "1", "azureml://x", **place))
    script = (
        "import mlflow; from mlflow import MlflowClient; c = MlflowClient()\n"
        "c.copy_model_version('models:/original/1', 'copied')\n"
        "c.delete_registered_model('original')\n"
        "print(open(mlflow.artifacts.download_artifacts('models:/copied/1') + '/weights').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=site.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("w")
    found = row(site, "copied", "1")
    assert found is not None
    assert found.properties["modelUri"].endswith("/workspaceblobstore/paths/LocalUpload/copied/saved")
