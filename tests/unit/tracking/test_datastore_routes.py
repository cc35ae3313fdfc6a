"""The datastore and data routes of `azureml-fsspec` and `mltable`, with the requests that these clients send."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.errors import unauthorized
from smalt.arm.ports import Principal
from smalt.auth.access import authorize
from smalt.tracking.dataplane.datastores import DatastoreApp

DATASTORE = f"/datastore/v1.0{WORKSPACE}/datastores"
VERSION = f"/data/v1.0{WORKSPACE}/dataversion/churn/versions/1"
JOB = Principal(oid="j", name="job:train-1", kind="job", tenant="t", scope=WORKSPACE.lower())


def ask(
    harness: Harness,
    path: str,
    body: Any = None,
    principal: Principal | None = OWNER,
    may: tuple[str, ...] = ("GET", "PUT"),
) -> httpx.Response:
    """`may`: what the principal's token may do to the blobs themselves."""

    def who(_: Any) -> Principal:
        if principal is None:
            raise unauthorized("No token.")
        return principal

    app = DatastoreApp(harness.platform, who, authorize, lambda one, account, verb: verb in may)
    assert app.handles(path)

    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=harness.settings.url) as client:
            return await client.request("POST" if body else "GET", path, json=body)

    return asyncio.run(call())


def test_a_datastore_says_where_its_blobs_are_and_what_opens_them(harness: Harness) -> None:
    stored = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    found = ask(harness, f"{DATASTORE}/workspaceblobstore").json()
    section = found["azureStorageSection"]
    assert (found["name"], found["dataStoreType"]) == ("workspaceblobstore", "AzureBlob")
    assert section["accountName"] == f"localhost:7443/{stored['accountName']}"
    assert (section["containerName"], section["endpoint"]) == (stored["containerName"], "core.smalt")
    sas = parse_qs(section["credential"])
    assert (section["credentialType"], sas["sr"], sas["sp"]) == ("Sas", ["c"], ["rwdlac"])


@pytest.mark.parametrize("store", ["workspacefilestore", "workspaceworkingdirectory"])
def test_a_file_share_of_the_workspace_is_read_as_blobs(harness: Harness, store: str) -> None:
    stored = harness.row(f"{WORKSPACE}/datastores/{store}").properties
    found = ask(harness, f"{DATASTORE}/{store}").json()
    section = found["azureStorageSection"]
    assert (stored["datastoreType"], found["dataStoreType"]) == ("AzureFile", "AzureBlob")
    assert section["containerName"] == stored["fileShareName"]
    assert parse_qs(section["credential"])["sr"] == ["c"]


def test_paths_have_no_case(harness: Harness) -> None:
    assert (
        ask(harness, f"{DATASTORE}/WorkspaceBlobStore".replace("resourceGroups", "resourcegroups")).status_code == 200
    )


def test_the_list_has_no_credentials(harness: Harness) -> None:
    listed = ask(harness, DATASTORE).json()["value"]
    own = {"workspaceblobstore", "workspaceartifactstore", "workspacefilestore", "workspaceworkingdirectory"}
    assert {one["name"] for one in listed} == own
    assert "sig" not in str(listed)


def test_the_sas_opens_what_the_datastore_or_the_own_token_opens(harness: Harness) -> None:
    body = {"datastoreType": "AzureBlob", "accountName": "lake", "containerName": "raw"}
    harness.put(f"{WORKSPACE}/datastores/lake", {"properties": body})

    def letters(may: tuple[str, ...], principal: Principal = JOB) -> str:
        answer = ask(harness, f"{DATASTORE}/lake", principal=principal, may=may)
        if answer.status_code == 403:
            return "refused"
        return parse_qs(answer.json()["azureStorageSection"]["credential"])["sp"][0]

    harness.settle()
    replica = replace(JOB, kind="endpoint")
    assert [letters(may) for may in (("GET", "PUT"), ("GET",), ())] == ["rwdlac", "rl", "refused"]
    key = {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": "a2V5"}}
    harness.put(f"{WORKSPACE}/datastores/lake", {"properties": {**body, "credentials": key}})
    assert letters(()) == "rwdlac", "as listSecrets gives it out"
    assert (letters((), replica), letters(("GET",), replica)) == ("refused", "rl")


def test_what_is_not_here(harness: Harness) -> None:
    assert ask(harness, f"{DATASTORE}/nothing").status_code == 404
    body = {"datastoreType": "AzureDataLakeGen2", "accountName": "lake", "filesystem": "raw"}
    harness.put(f"{WORKSPACE}/datastores/far", {"properties": body})
    refused = ask(harness, f"{DATASTORE}/far")
    assert refused.status_code == 400 and "outside of this platform (AzureDataLakeGen2)" in refused.text
    assert ask(harness, VERSION).status_code == 404


@pytest.mark.parametrize("path", [f"{DATASTORE}/workspaceblobstore", DATASTORE, VERSION])
def test_who_may_ask(harness: Harness, path: str) -> None:
    harness.put(f"{WORKSPACE}/data/churn/versions/1", {"properties": {"dataUri": "https://x/y"}})
    assert ask(harness, path, principal=JOB).status_code == 200
    assert ask(harness, path, principal=None).status_code == 401
    other = replace(JOB, scope=WORKSPACE.lower().replace("/bank", "/other"))
    assert ask(harness, path, principal=other).status_code == 403


@pytest.mark.parametrize(
    ("type_", "spelled"), [("uri_file", "UriFile"), ("uri_folder", "UriFolder"), ("mltable", "MLTable")]
)
def test_a_data_asset(harness: Harness, type_: str, spelled: str) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/fs/"
    body = {"dataUri": uri, "dataType": type_, "tags": {"a": "b"}}
    harness.put(f"{WORKSPACE}/data/churn/versions/1", {"properties": body})
    found = ask(harness, VERSION).json()
    version = found["dataVersion"]
    assert found["isV2"] is True and (version["dataType"], version["versionId"]) == (spelled, "1")
    assert version["dataUri"].startswith("azureml://subscriptions/") and version["dataUri"].endswith("/paths/fs/")
    assert version["mutableProps"]["tags"] == {"a": "b"}
    by_id = f"/data/v1.0{WORKSPACE}/dataversion/getByAssetId"
    for id_ in ("azureml://locations/local/workspaces/x/data/churn/versions/1", f"{WORKSPACE}/data/churn/versions/1"):
        assert ask(harness, by_id, {"value": id_}).json() == found
    assert ask(harness, by_id, {"value": 5}).status_code == 400
