"""Lists as azureml-dataprep asks for them: the account's path for a container, and the container in front of all names."""

from __future__ import annotations

import pytest

from smalt.blob.protocol.account_listing import AccountListing

CONTAINER = "data"
LIST = "restype=container&comp=list&maxresults=5000&include=metadata"


@pytest.fixture
def shelf(rig):
    rig.app = AccountListing(rig.app)
    for name in ("fs/a.csv", "fs/b%20c.csv", "fs/sub/d.csv", "other"):
        assert rig.put(name).status == 201
    return rig


def listed(shelf, query: str, **more: str):
    return shelf.request("GET", query=f"{LIST}&{query}", container="", **more)


def test_names_begin_with_the_container(shelf) -> None:
    level = listed(shelf, f"prefix={CONTAINER}%2Ffs%2F&delimiter=%2F")
    assert level.status == 200, level.body
    blobs = level.xml().find("Blobs")
    assert [one.text for one in blobs.findall("Blob/Name")] == ["data/fs/a.csv", "data/fs/b c.csv"]
    assert [one.text for one in blobs.findall("BlobPrefix/Name")] == ["data/fs/sub/"]
    assert int(level.headers["content-length"]) == len(level.body)


@pytest.mark.parametrize("prefix", ["prefix=data", "prefix=data/", "prefix=data%2f"])
def test_the_whole_container(shelf, prefix: str) -> None:
    assert listed(shelf, prefix).names() == ["data/fs/a.csv", "data/fs/b c.csv", "data/fs/sub/d.csv", "data/other"]


def test_metadata_called_name_stays(shelf) -> None:
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-name": "n"}
    assert shelf.request("PUT", "z", headers=headers, body=b"x").status == 201
    blob = listed(shelf, "prefix=data/z").xml().find("Blobs/Blob")
    assert blob.findtext("Name") == "data/z"
    assert [one.text for one in blob.find("Metadata")] == ["n"]


@pytest.mark.parametrize(("prefix", "status"), [("nothing%2F", 404), ("..%2F", 400), ("", 400), ("A/", 400)])
def test_what_is_no_container(shelf, prefix: str, status: int) -> None:
    assert listed(shelf, f"prefix={prefix}").status == status


def test_a_signature_opens_its_own_container_only(shelf) -> None:
    shelf.port.ensure_container("acct", "private")
    sas = shelf.port.sas("acct", "rl", 3600, container=CONTAINER)
    assert listed(shelf, "prefix=data%2F", auth=sas).status == 200
    assert listed(shelf, "prefix=private%2F", auth=sas).status == 403
    assert listed(shelf, "prefix=data%2F", auth="").status == 401


def test_other_requests_are_left_alone(shelf) -> None:
    assert shelf.request("GET", query="restype=container&comp=list&prefix=fs/a").names() == ["fs/a.csv"]
    assert shelf.request("GET", query="comp=list", container="").names() == ["data"]
    assert shelf.get("fs/a.csv").body == b"x"
