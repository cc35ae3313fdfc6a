"""The edge's paths and MLflow's names for workspaces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smalt.arm.ids import workspace_id
from smalt.settings import Settings
from smalt.tracking.address import azureml_run_uri, mlflow_name, parse_address, run_artifact_uri, tracking_uri

WORKSPACE = workspace_id("sub-1", "Group", "My_Space")
SETTINGS = Settings(Path("/nowhere"), "localhost", 7443)


@pytest.mark.parametrize("prefix", ["/mlflow/v1.0", "/mlflow/v2.0", "/MLFLOW/V2.0"])
def test_a_tracking_path_names_its_workspace_in_any_case(prefix: str) -> None:
    path = f"{prefix}{str(WORKSPACE).upper().replace('MY_SPACE', 'My_Space')}/api/2.0/mlflow/runs/get"
    address = parse_address(path)
    assert address is not None
    assert (address.service, address.workspace.key) == ("mlflow", WORKSPACE.key)
    assert address.rest == "/api/2.0/mlflow/runs/get"
    assert address.plugin == prefix.lower().endswith("v2.0")


def test_the_rest_is_decoded_once_and_kept_as_sent() -> None:
    address = parse_address(f"/mlflow/v1.0{WORKSPACE}/a%2Fb%252e?")
    assert address is not None
    assert (address.rest, address.raw_rest) == ("/a/b%2e?", "/a%2Fb%252e?")


@pytest.mark.parametrize(
    "path", ["/mlflow/v3.0/subscriptions/s", "/mlflow/v1.0", "/", f"/history/v1.0{WORKSPACE}/runs/r"]
)
def test_other_paths_are_not_ours(path: str) -> None:
    assert parse_address(path) is None


@pytest.mark.parametrize("kind", ["experiments", "experimentids"])
def test_the_plugins_artifact_service_is_ours(kind: str) -> None:
    address = parse_address(f"/history/v1.0{WORKSPACE}/{kind}/7/runs/job%201/artifacts/batch/metadata")
    assert address is not None
    assert (address.service, address.run, address.rest) == ("history", "job 1", "/batch/metadata")


def test_names_fit_mlflow_and_never_meet() -> None:
    others = [
        workspace_id("sub-1", "Group", "my-space"),
        workspace_id("sub-1", "Other", "My_Space"),
        workspace_id("sub-2", "Group", "My_Space"),
        workspace_id("sub-1", "Group", "-" * 40),
        workspace_id("sub-1", "Group", "w" * 300),
        workspace_id("sub-1", "Group", "w" * 301),
        workspace_id("sub-1", "Group", "ярлык"),
    ]
    names = [mlflow_name(one) for one in (WORKSPACE, *others)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and 2 <= len(name) <= 63
    assert mlflow_name(WORKSPACE.key) == mlflow_name(str(WORKSPACE).upper()) == names[0]


def test_the_uris_that_clients_get() -> None:
    base = f"localhost:7443/mlflow/v1.0{WORKSPACE}"
    assert tracking_uri(SETTINGS, WORKSPACE) == f"https://{base}"
    assert tracking_uri(SETTINGS, WORKSPACE, "azureml") == f"azureml://{base}"
    expected = f"https://{base}/api/2.0/mlflow-artifacts/artifacts/ExperimentRun/dcid.job-1"
    assert run_artifact_uri(SETTINGS, WORKSPACE, "job-1") == expected
    assert azureml_run_uri(SETTINGS, WORKSPACE, "7", "job-1").endswith("/experiments/7/runs/job-1/artifacts")
