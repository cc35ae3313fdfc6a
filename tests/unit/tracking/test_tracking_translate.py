"""What reads differently behind the edge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt.arm.ids import workspace_id
from smalt.settings import Settings
from smalt.tracking.address import artifact_root, azureml_run_uri
from smalt.tracking.edge.translate import (
    default_experiment_in_body,
    default_experiment_in_query,
    for_plugin,
    from_plugin,
    wants_azureml_uris,
    without_workspaces,
)

SETTINGS = Settings(Path("/nowhere"), "localhost", 7443)
WORKSPACE = workspace_id("s", "g", "W")
ROOT = artifact_root(SETTINGS, WORKSPACE)
RUN = azureml_run_uri(SETTINGS, WORKSPACE, "7", "job-1")


def never() -> int:
    raise AssertionError("asked for the default experiment")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"experiment_id": "0", "tags": []}, {"experiment_id": "5", "tags": []}),
        ({"experiment_id": 0}, {"experiment_id": "5"}),
        ({"experiment_ids": ["1", "0"]}, {"experiment_ids": ["1", "5"]}),
    ],
)
def test_experiment_0_is_the_workspaces_own(before: dict[str, object], after: dict[str, object]) -> None:
    assert json.loads(default_experiment_in_body(json.dumps(before).encode(), lambda: 5)) == after


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'["experiment_id","0"]',
        b'{"experiment_id":"10"}',
        b'{"key":"experiment_id","value":"0"}',
        b"\xff\x00",
    ],
)
def test_other_bodies_pass_untouched(body: bytes) -> None:
    assert default_experiment_in_body(body, never) == body


def test_experiment_0_in_a_query() -> None:
    assert default_experiment_in_query("experiment_id=0&x=a%20b", lambda: 5) == "experiment_id=5&x=a+b"
    assert default_experiment_in_query("experiment_id=10&x=a%20b", never) == "experiment_id=10&x=a%20b"


def test_the_plugin_gets_uris_that_it_signs_in_for() -> None:
    answer = {
        "run": {"info": {"experiment_id": "7", "artifact_uri": f"{ROOT}/ExperimentRun/dcid.job-1"}},
        "other": [{"info": {"experiment_id": "7", "artifact_uri": f"{ROOT}/7/job-1/artifacts/model"}}],
        "location": {"artifact_location": f"{ROOT}/7/models/m-1/artifacts"},
        "elsewhere": {"artifact_uri": "s3://bucket/x"},
        "tag": {"value": f"{ROOT}/7/job-1/artifacts"},
    }
    changed = json.loads(for_plugin(json.dumps(answer).encode(), SETTINGS, WORKSPACE))
    assert changed["run"]["info"]["artifact_uri"] == RUN
    assert changed["other"][0]["info"]["artifact_uri"] == f"{RUN}/model"
    assert changed["location"]["artifact_location"] == "azureml://artifacts/LoggedModel/m-1"
    assert changed["elsewhere"] == answer["elsewhere"] and changed["tag"] == answer["tag"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"{RUN}/model", "URI-OF-job-1/model"),
        ("azureml://jobs/job-1/outputs/artifacts/paths/model/", "URI-OF-job-1/model"),
        ("azureml://jobs/job-1/outputs/artifacts/model", "URI-OF-job-1/model"),
        ("azureml://artifacts/LocalUpload/x/model", f"{ROOT}/LocalUpload/x/model"),
        ("runs:/job-1/model", "runs:/job-1/model"),
    ],
)
def test_a_models_source_comes_back_as_mlflow_knows_it(source: str, expected: str) -> None:
    body = json.dumps({"name": "n", "source": source}).encode()
    changed = json.loads(from_plugin(body, SETTINGS, WORKSPACE, lambda run: f"URI-OF-{run}"))
    assert changed == {"name": "n", "source": expected}


@pytest.mark.parametrize(
    ("agent", "wanted"),
    [
        ("mlflow-python-client/2.22.5 azureml-mlflow/1.60.0", True),
        ("mlflow-python-client/3.15.0 azureml-mlflow/1.62.0", True),
        ("mlflow-python-client/3.17.2 azureml-mlflow/1.60.0", False),
        ("something", True),
    ],
)
def test_a_plugin_too_old_for_its_mlflow_keeps_https(agent: str, wanted: bool) -> None:
    assert wants_azureml_uris(agent) is wanted


def test_a_client_sees_one_workspace_only() -> None:
    assert json.loads(without_workspaces(b'{"workspaces_enabled": true, "x": 1}')) == {
        "workspaces_enabled": False,
        "x": 1,
    }
