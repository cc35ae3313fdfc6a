"""The official client against a started platform: each script in `client/` is ordinary user code with asserts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from live.clients import Client
from live.platform import Platform

pytestmark = pytest.mark.e2e


TIMED = pytest.param("jobs_live", marks=pytest.mark.serial)  # how soon a line is seen


@pytest.mark.parametrize(
    "script",
    [
        "assets",
        "workspaces",
        "compute",
        "jobs_data",
        "jobs_queue",
        "services",
        "schedules",
        TIMED,
        "jobs_life",
        "pipelines",
        "sweeps",
        "parallel",
        "tracking",
        "runs",
        "endpoints",
        "mlflow_deployments",
        "collecting",
        "registries",
    ],
)
def test_script(client: Client, scripts: Path, script: str) -> None:
    said = client.run(scripts / f"{script}.py")
    print(said)
    assert said.rstrip().endswith("PASSED")


def test_the_oldest_client_that_works_downloads_too(client_of: Callable[[str], Client], scripts: Path) -> None:
    """It spells the types of outputs in another way than the newest."""
    assert client_of("1.31.0").run(scripts / "jobs_data.py").rstrip().endswith("PASSED")


def test_a_service_principal_signs_in(platform: Platform, client: Client, scripts: Path) -> None:
    made = platform.smalt("sp", "create", "pipeline-runner", "--json")
    assert made.returncode == 0, made.stderr
    variables = {name: value for name, value in json.loads(made.stdout).items() if name.startswith("AZURE_")}
    # a machine of its own has no managed identity
    said = client.run(scripts / "principal.py", variables={"IDENTITY_ENDPOINT": "", "IDENTITY_HEADER": "", **variables})
    assert said.rstrip().endswith("PASSED")
    deleted = platform.smalt("sp", "delete", "pipeline-runner")
    assert deleted.returncode == 0, deleted.stderr
    said = client.run(
        scripts / "principal.py", "refused", variables={"IDENTITY_ENDPOINT": "", "IDENTITY_HEADER": "", **variables}
    )
    assert said.rstrip().endswith("REFUSED")
