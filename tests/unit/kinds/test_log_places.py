"""No job is given a place to write to that the platform keeps logs in."""

from __future__ import annotations

import pytest

from fakes.jobs import submit
from fakes.platform import Harness

STORE = "azureml://datastores/workspaceartifactstore/paths/"
REFUSED = [
    "",
    "ExperimentRun/",
    "ExperimentRun/dcid.other/",
    *(f"ExperimentRun/dcid.train-1/{folder}/" for folder in ("user_logs", "system_logs", "azureml-logs")),
    "ExperimentRun/dcid.other/user_logs/deep/",
    "ExperimentRun//dcid.other/system_logs",
    "ExperimentRun/dcid.${{name}}/user_logs",
]
TAKEN = [
    "mine/",
    "ExperimentRun/dcid.train-1/",
    "ExperimentRun/dcid.${{name}}",
    "ExperimentRun/dcid.train-1/model/",
    "ExperimentRun/dcid.other/model/user_logs/",
]


@pytest.mark.parametrize("path", REFUSED)
def test_an_output_where_logs_are_is_refused(harness: Harness, path: str) -> None:
    refused = submit(harness, outputs={"o": {"jobOutputType": "uri_folder", "uri": STORE + path}})
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["target"] == "properties.outputs.o.uri"
    assert "logs of runs" in refused.json()["error"]["message"]


@pytest.mark.parametrize("path", TAKEN)
def test_an_output_elsewhere_is_taken(harness: Harness, path: str) -> None:
    taken = submit(harness, outputs={"o": {"jobOutputType": "uri_folder", "uri": STORE + path}})
    assert taken.status_code == 201, taken.text


def test_the_own_artifacts_are_an_output_by_name(harness: Harness) -> None:
    assert submit(harness, outputs={"artifacts": {"jobOutputType": "uri_folder"}}).status_code == 201


@pytest.mark.parametrize(("mode", "status"), [("ReadWriteMount", 400), ("rw_mount", 400), ("ReadOnlyMount", 201)])
def test_an_input_that_is_written_to_is_not_there_either(harness: Harness, mode: str, status: int) -> None:
    given = {"jobInputType": "uri_folder", "mode": mode, "uri": f"{STORE}ExperimentRun/dcid.train-1/user_logs/"}
    assert submit(harness, inputs={"i": given}).status_code == status
