"""Real MLflow clients, each in a process (and where need be an environment) of its own, against the edge."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from live.tools import wanting
from smalt.arm.ports import RunSpec

LIFE = """
import json, os, pathlib, sys, tempfile
import mlflow
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

client, three = MlflowClient(), mlflow.__version__ >= "3"
if "MLFLOW_RUN_ID" not in os.environ:
    mlflow.set_experiment("from outside")
with mlflow.start_run() as run:
    run_id = run.info.run_id
    during = client.get_run(run_id).info.status
    mlflow.log_params({"depth": 3, "name": "x"})
    for step in range(3):
        mlflow.log_metric("auc", 0.5 + step / 10, step=step)
    mlflow.set_tag("kind", "test")
    file = pathlib.Path(tempfile.mkdtemp()) / "a b.txt"
    file.write_text("text")
    mlflow.log_artifact(str(file), "sub/folder")
    mlflow.log_dict({"a": 1}, "top.json")
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    named = {"name": "model"} if three else {"artifact_path": "model"}
    info = mlflow.sklearn.log_model(model, serialization_format="cloudpickle", registered_model_name="m-" + run_id[:20], **named)
found = client.get_run(run_id)
print(json.dumps({
    "run_id": run_id,
    "during": during,
    "after": found.info.status,
    "params": found.data.params,
    "metrics": found.data.metrics,
    "history": [one.value for one in client.get_metric_history(run_id, "auc")],
    "tag": found.data.tags["kind"],
    "top": sorted(set(one.path for one in client.list_artifacts(run_id))),
    "text": mlflow.artifacts.load_text(found.info.artifact_uri + "/sub/folder/a b.txt"),
    "found": run_id in list(mlflow.search_runs(search_all_experiments=True)["run_id"]),
    "by_model": [int(mlflow.sklearn.load_model(info.model_uri).predict([[1.0]])[0])],
    "by_run": [int(mlflow.sklearn.load_model("runs:/" + run_id + "/model").predict([[1.0]])[0])],
    "by_name": [int(mlflow.pyfunc.load_model("models:/m-" + run_id[:20] + "/1").predict([[1.0]])[0])],
}))
"""


def live(python: Path | str, environment: dict[str, str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-c", LIFE], env=environment, cwd=folder, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"run_id"')))


def check(site: Any, result: dict[str, Any]) -> None:
    assert (result["during"], result["after"]) == ("RUNNING", "FINISHED")
    assert result["params"] == {"depth": "3", "name": "x"}
    assert result["metrics"] == {"auc": 0.7} and result["history"] == [0.5, 0.6, 0.7]
    assert (result["tag"], result["text"], result["found"]) == ("test", "text", True)
    assert result["top"] == ["model", "sub", "top.json"]
    assert result["by_model"] == result["by_run"] == result["by_name"] == [1]
    folder = site.artifacts() / f"ExperimentRun/dcid.{result['run_id']}"
    assert (folder / "model/MLmodel").is_file() and (folder / "sub/folder/a b.txt").read_text() == "text"
    assert json.loads((folder / "top.json").read_text()) == {"a": 1}


@pytest.fixture(scope="session")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An interpreter with these packages, made by uv; the test is skipped where they cannot be had."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*packages: str) -> Path:
        if packages not in made:
            folder, uv = tmp_path_factory.mktemp("client"), Path(sys.executable).with_name("uv")
            subprocess.run([uv, "--project", "/", "venv", "-q", "--python", sys.executable, folder], check=True)
            install = [
                uv,
                "--project",
                "/",  # not under this project's constraints
                "pip",
                "install",
                "-q",
                "--python",
                folder / "bin/python",
                "scikit-learn",
                "setuptools<81",
                *packages,
            ]
            if subprocess.run(install, capture_output=True).returncode:
                shutil.rmtree(folder)
                wanting(", ".join(packages), "they could not be installed")
            made[packages] = folder / "bin/python"
        return made[packages]

    return make


def test_mlflow_3_from_outside(site: Any, tmp_path: Path) -> None:
    check(site, live(sys.executable, site.environment(), tmp_path))


def test_mlflow_3_in_a_job(site: Any, tmp_path: Path) -> None:
    site.tracking.ensure_run(RunSpec(site.alpha.key, "the-job", "jobs of clients", "The job", "ada"))
    job = site.environment(
        MLFLOW_RUN_ID=site.tracking.run_id(site.alpha.key, "the-job"),
        MLFLOW_EXPERIMENT_NAME="jobs of clients",
        MLFLOW_TRACKING_TOKEN=site.token(site.alpha, "job"),
    )
    result = live(sys.executable, job, tmp_path)
    assert result["run_id"] == "the-job"
    check(site, result)
    site.tracking.end_run(site.alpha.key, "the-job", "FAILED", 1.0)
    run = site.tracking.run(site.alpha.key, "the-job")
    assert (run.status, run.display_name, run.params["depth"], run.metrics["auc"]) == ("FAILED", "The job", "3", 0.7)


def test_mlflow_2_from_outside(site: Any, python_with: Any, tmp_path: Path) -> None:
    check(site, live(python_with("mlflow<3", "azureml-mlflow>=1.62"), site.environment(), tmp_path))


@pytest.mark.parametrize(
    "versions", [("mlflow<3", "azureml-mlflow>=1.62"), ("mlflow>=3.10,<=3.15", "azureml-mlflow>=1.62")]
)
def test_an_azureml_uri_with_the_plugins_own_sign_in(
    site: Any, python_with: Any, versions: tuple[str, ...], tmp_path: Path
) -> None:
    check(site, live(python_with(*versions), site.azureml_environment(), tmp_path))


def test_an_old_plugin_with_a_new_mlflow_works_with_a_token(site: Any, python_with: Any, tmp_path: Path) -> None:
    environment = site.azureml_environment() | {"MLFLOW_TRACKING_TOKEN": site.token()}
    check(site, live(python_with("mlflow>=3.17,<3.19", "azureml-mlflow==1.60.0"), environment, tmp_path))
