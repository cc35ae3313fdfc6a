"""What clients read of a job or run: parameters, outputs, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from fakes.platform import WORKSPACE
from fakes.run_site import JOBS, Site
from smalt.settings import ARTIFACT_CONTAINER
from smalt.tracking.database import schema


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    made = Site(tmp_path, database_url)
    yield made
    made.close()


def test_parameters_and_the_tracking_address_are_in_the_document(site: Site) -> None:
    site.submit("train")
    site.mlflow_creates("r1")
    with site.tracking.database.write() as connection:
        for run in ("train", "r1"):
            connection.execute(insert(schema.params).values(run_uuid=run, key="lr", value="0.1"))
    for name in ("train", "r1"):
        assert site.job(name)["parameters"] == {"lr": "0.1"}
        assert site.job(name)["services"]["Tracking"]["endpoint"] == f"azureml://localhost:7443/mlflow/v2.0{WORKSPACE}"
    run = site.ask("POST", f"/history/v1.0{WORKSPACE}/rundata", {"runId": "r1"})["runMetadata"]
    assert run["parameters"] == {"lr": "0.1"}


@pytest.mark.parametrize("type_", ["uri_file", "uri_folder", "mltable", "custom_model"])
def test_each_client_reads_the_types_of_outputs_in_its_own_spelling(site: Site, type_: str) -> None:
    """azure-ai-ml 1.31 knows the service's own, 1.35 the resource manager's alone; neither reads a model there."""
    site.submit("train", outputs={"out": {"jobOutputType": type_}})
    agents = {
        "azure-ai-ml/1.31.0 azsdk-python-mgmt-machinelearningservices/0.1.0 Python/3.11.7": 0,
        "": 0,
        "azure-ai-ml/1.35.2 azsdk-python-runhistory/1.0.0b1 Python/3.11.7": 1,
    }
    spelled = {"uri_file": ("UriFile", "uri_file"), "mltable": ("MLTable", "mltable")}
    for agent, which in agents.items():
        path = f"/history/v1.0{WORKSPACE}/rundata"
        (found,) = site.ask("POST", path, {"runId": "train"}, **{"user-agent": agent})["runMetadata"][
            "outputs"
        ].values()
        assert found["type"] == spelled.get(type_, ("UriFolder", "uri_folder"))[which]


def test_files_of_a_run_are_read_as_a_jobs(site: Site) -> None:
    site.mlflow_creates("r1", status="FINISHED")
    account = site.harness.row(WORKSPACE).status["account"]
    folder = site.harness.blobs.path(account, ARTIFACT_CONTAINER, "ExperimentRun/dcid.r1/model")
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    for number, uri in enumerate(("runs:/r1/model", "azureml://jobs/r1/outputs/artifacts/paths/model")):
        model = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
        assert site.harness.put(f"{WORKSPACE}/models/m{number}/versions/1", model).status_code == 201
        inputs = {"m": {"jobInputType": "uri_folder", "uri": uri}}
        site.submit(f"uses-{number}", inputs=inputs, command="ls ${{inputs.m}}")
        (name,) = site.harness.row(f"{JOBS}/uses-{number}").status["tasks"]
        (given,) = site.harness.engine.tasks[name].inputs
        assert given.source and site.harness.blobs.path(*given.source) == folder
