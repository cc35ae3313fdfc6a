"""Outputs of jobs are data assets under the names that clients make up for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.platform import WORKSPACE, Harness

JOBS, DATA = f"{WORKSPACE}/jobs", f"{WORKSPACE}/data"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def submit(harness: Harness, name: str, **more: Any) -> None:
    job = {"jobType": "Command", "command": "python t.py", "environmentId": CURATED, **more}
    answer = harness.put(f"{JOBS}/{name}", {"properties": job})
    assert answer.status_code == 201, answer.text
    harness.settle()


def end(harness: Harness, name: str) -> None:
    harness.engine.finish(harness.row(f"{JOBS}/{name}").status["tasks"][0], 0)
    harness.settle()


OUTPUTS = {
    "table": {"jobOutputType": "mltable"},
    "file": {"jobOutputType": "uri_file", "uri": "azureml://datastores/workspaceblobstore/paths/x/a.csv"},
    "x_output_data_y": {"jobOutputType": "uri_folder"},
    "model": {"jobOutputType": "mlflow_model"},
}


def test_an_output_is_a_data_asset_once_its_job_has_ended(harness: Harness) -> None:
    submit(harness, "train", outputs=OUTPUTS)
    asset = f"{DATA}/azureml_train_output_data_file"
    assert harness.get(asset).status_code == harness.get(f"{asset}/versions/1").status_code == 404
    end(harness, "train")
    version = harness.get(f"{asset}/versions/1").json()
    assert version["id"] == f"{asset}/versions/1"
    assert version["properties"]["dataType"] == "uri_file"
    assert version["properties"]["dataUri"] == "azureml://datastores/workspaceblobstore/paths/x/a.csv"
    assert harness.get(asset).json()["properties"]["latestVersion"] == "1"
    assert [one["name"] for one in harness.get(f"{asset}/versions?$top=1").json()["value"]] == ["1"]
    assert harness.get(f"{asset}/versions?listViewType=ArchivedOnly").json()["value"] == []
    assert (
        harness.get(f"{DATA}/azureml_train_output_data_table/versions/1").json()["properties"]["dataType"] == "mltable"
    )
    odd = harness.get(f"{DATA}/azureml_train_output_data_x_output_data_y/versions/1").json()
    assert odd["properties"]["dataUri"].endswith("/azureml/train/x_output_data_y/")
    for missing in (
        "azureml_train_output_data_none",
        "azureml_other_output_data_file",
        "azureml_train_output_data_model",
    ):
        assert harness.get(f"{DATA}/{missing}/versions/1").status_code == 404
        assert harness.get(f"{DATA}/{missing}/versions").json()["value"] == []
    assert harness.get(f"{asset}/versions/2").status_code == 404
    assert harness.get(DATA).json()["value"] == []


@pytest.mark.parametrize("form", ["azureml:{}:1", "azureml:{}@latest", f"{DATA}/{{}}/versions/1"])
def test_it_can_be_read_by_another_job(harness: Harness, form: str) -> None:
    submit(harness, "first", outputs=OUTPUTS)
    end(harness, "first")
    uri = form.format("azureml_first_output_data_file")
    submit(harness, "second", inputs={"d": {"jobInputType": "uri_file", "uri": uri}}, command="cat ${{inputs.d}}")
    task = harness.row(f"{JOBS}/second").status["tasks"][0]
    assert harness.engine.tasks[task].inputs[0].source.name == "x/a.csv"


def test_one_that_is_tagged_or_archived_gets_its_row(harness: Harness) -> None:
    submit(harness, "train", outputs=OUTPUTS)
    end(harness, "train")
    version = f"{DATA}/azureml_train_output_data_file/versions/1"
    document = harness.get(version).json()
    document["properties"] |= {"isArchived": True, "tags": {"a": "b"}}
    assert harness.put(version, document).status_code in (200, 201)
    read = harness.get(version).json()["properties"]
    assert (read["isArchived"], read["tags"], read["dataUri"]) == (True, {"a": "b"}, document["properties"]["dataUri"])
    listed = harness.get(version.rpartition("/")[0]).json()["value"]
    assert listed == []
    assert harness.send("DELETE", f"{JOBS}/train").status_code == 202
    harness.settle()
    assert harness.get(version).status_code == 200
