"""The two file shares that each workspace has: listed as Azure's, and read and written by jobs."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref

STORES = f"{WORKSPACE}/datastores"
SHARES = ("workspacefilestore", "workspaceworkingdirectory")


@pytest.mark.parametrize("name", SHARES)
def test_it_is_shown_as_azure_shows_it_and_opens_its_own_files_alone(harness: Harness, name: str) -> None:
    shown = harness.get(f"{STORES}/{name}").json()["properties"]
    account = harness.row(WORKSPACE).status["account"]
    assert (shown["datastoreType"], shown["accountName"]) == ("AzureFile", f"localhost:7443/{account}")
    assert shown["isDefault"] is False
    secrets = harness.send("POST", f"{STORES}/{name}/listSecrets", {}).json()
    assert secrets["secretsType"] == "Sas" and parse_qs(secrets["sasToken"])["sr"] == ["c"]


@pytest.mark.parametrize("name", SHARES)
def test_jobs_read_and_write_it(harness: Harness, name: str) -> None:
    store = f"azureml://datastores/{name}/paths"
    given = {"raw": {"jobInputType": "uri_file", "uri": f"{store}/raw.csv"}}
    made = {"made": {"jobOutputType": "uri_folder", "uri": f"{store}/made/"}}
    command = "cp ${{inputs.raw}} ${{outputs.made}}"
    assert submit(harness, "train", command=command, inputs=given, outputs=made).status_code == 201
    harness.settle()
    task = harness.engine.tasks[harness.row(f"{JOBS}/train").status["tasks"][0]]
    account, share = (
        harness.row(WORKSPACE).status["account"],
        harness.row(f"{STORES}/{name}").properties["fileShareName"],
    )
    read, written = task.inputs[0].source, next(one.target for one in task.outputs if one.name == "made")
    assert read == Ref(account, share, "raw.csv")
    assert written == Ref(account, share, "made/")


@pytest.mark.parametrize("name", SHARES)
def test_nobody_changes_or_deletes_it(harness: Harness, name: str) -> None:
    body = {"properties": {"datastoreType": "AzureFile", "accountName": "elsewhere", "fileShareName": "mine"}}
    assert harness.put(f"{STORES}/{name}", body).status_code == 400
    assert harness.send("DELETE", f"{STORES}/{name}").status_code == 400


def test_a_share_that_somebody_names_is_none_of_this_platform(harness: Harness) -> None:
    own = harness.row(f"{STORES}/workspaceworkingdirectory").properties
    named = {key: own[key] for key in ("datastoreType", "accountName", "fileShareName", "endpoint")}
    assert harness.put(f"{STORES}/mine", {"properties": named}).status_code == 201
    harness.settle()
    given = {"raw": {"jobInputType": "uri_file", "uri": "azureml://datastores/mine/paths/raw.csv"}}
    refused = submit(harness, "train", inputs=given)
    assert refused.status_code == 400 and "outside of this platform (AzureFile)" in refused.text


def test_a_datastore_of_blobs_that_becomes_a_share_is_none_of_this_platform(harness: Harness) -> None:
    blobs = {"datastoreType": "AzureBlob", "accountName": "mine", "containerName": "raw"}
    assert harness.put(f"{STORES}/turned", {"properties": blobs}).status_code == 201
    harness.settle()
    own = harness.row(f"{STORES}/workspaceworkingdirectory").properties
    share = {key: own[key] for key in ("datastoreType", "accountName", "fileShareName", "endpoint")}
    assert harness.put(f"{STORES}/turned", {"properties": share}).status_code == 200
    given = {"raw": {"jobInputType": "uri_file", "uri": "azureml://datastores/turned/paths/raw.csv"}}
    assert "outside of this platform (AzureFile)" in submit(harness, "train", inputs=given).text
