"""The official clients, unmodified, against the blob app on a socket: azure-storage-blob and fsspec's adlfs."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import adlfs
import httpx
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobPrefix,
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContentSettings,
    generate_container_sas,
)

BIG = 70 << 20  # above the client's single put: it goes up as blocks


def test_metadata_keeps_its_case_everywhere(server, container):
    blob, copy = container.get_blob_client("a"), container.get_blob_client("copy")
    blob.upload_blob(b"1", metadata={"Owner": "me", "a_B": "x y"})
    assert blob.get_blob_properties().metadata == {"Owner": "me", "a_B": "x y"}
    assert blob.download_blob().properties.metadata == {"Owner": "me", "a_B": "x y"}
    assert [one.metadata for one in container.list_blobs(include=["metadata"])] == [{"Owner": "me", "a_B": "x y"}]
    copy.upload_blob_from_url(blob.url + "?" + server.port.sas("acct", "r", 60))
    assert copy.get_blob_properties().metadata == {"Owner": "me", "a_B": "x y"}
    blob.set_blob_metadata({"OWNER": "you"})
    assert blob.get_blob_properties().metadata == {"OWNER": "you"}
    blob.stage_block("MQ==", b"1")
    blob.commit_block_list([BlobBlock("MQ==")], metadata={"Owner": "list"})
    assert blob.get_blob_properties().metadata == {"Owner": "list"}
    container.set_container_metadata({"Team": "Blue"})
    assert container.get_container_properties().metadata == {"Team": "Blue"}
    with server.service() as service:
        service.create_container("other", metadata={"Team": "Red"})
        found = {one.name: one.metadata for one in service.list_containers(include_metadata=True)}
    assert found == {"data": {"Team": "Blue"}, "other": {"Team": "Red"}}


def test_a_shared_key_opens_everything(server, container):
    container.upload_blob("a/ü b+c%.txt", b"hello", metadata={"a": "1", "a_b": "2", "b": "x y"}, tags=None)
    blob = container.get_blob_client("a/ü b+c%.txt")
    assert blob.download_blob().readall() == b"hello"
    assert blob.get_blob_properties().metadata == {"a": "1", "a_b": "2", "b": "x y"}
    assert [one.name for one in container.list_blobs(name_starts_with="a/ü ", include=["metadata"])] == ["a/ü b+c%.txt"]
    wrong = BlobServiceClient(server.url, credential=server.key[::-1].strip("=") + "==")
    with pytest.raises(ClientAuthenticationError):
        wrong.get_container_client("data").get_blob_client("x").download_blob()


def test_connection_strings_sign_with_the_bare_account_name(server):
    text = f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={server.key};BlobEndpoint={server.url};"
    with BlobServiceClient.from_connection_string(text) as service:
        assert [one.name for one in service.list_containers(name_starts_with="da")] == ["data"]
        assert service.get_account_information()["account_kind"] == "StorageV2"
        assert service.get_service_properties()["delete_retention_policy"].enabled is False


def test_large_blobs_go_up_in_blocks_and_down_in_ranges(server):
    data = os.urandom(1 << 20) * (BIG >> 20) + b"tail"
    sas = server.port.sas("acct", "rwdl", 600, "data")
    with ContainerClient.from_container_url(f"{server.url}/data?{sas}") as container:
        container.upload_blob("big", data, max_concurrency=4)
        assert container.download_blob("big", max_concurrency=4).readall() == data
        assert container.download_blob("big", offset=BIG, length=100).readall() == b"tail"
        committed, uncommitted = container.get_blob_client("big").get_block_list("all")
        assert sum(block.size for block in committed) == len(data)
        assert uncommitted == []
        container.upload_blob("empty", b"")
        assert container.download_blob("empty").readall() == b""
    if server.folder:
        assert (server.folder / "big").stat().st_size == len(data)


def test_blocks_by_hand(container):
    blob = container.get_blob_client("blocks")
    blob.stage_block("1", b"one", validate_content=True)
    blob.stage_block("2", b"two")
    blob.commit_block_list([BlobBlock("2"), BlobBlock("1")], metadata={"a": "1"})
    assert blob.download_blob(validate_content=True).readall() == b"twoone"
    with pytest.raises(HttpResponseError) as caught:
        blob.commit_block_list([BlobBlock("9")])
    assert caught.value.error_code == "InvalidBlockList"


def test_append_blobs(container):
    blob = container.get_blob_client("log")
    blob.create_append_blob(content_settings=ContentSettings(content_type="text/plain"))
    blob.append_block(b"one\n")
    blob.append_block(b"two\n", appendpos_condition=4)
    with pytest.raises(HttpResponseError) as caught:
        blob.append_block(b"no", appendpos_condition=4)
    assert caught.value.error_code == "AppendPositionConditionNotMet"
    container.upload_blob("log", b"three\n", blob_type=BlobType.APPENDBLOB)
    assert blob.download_blob().readall() == b"one\ntwo\nthree\n"
    properties = blob.get_blob_properties()
    assert (properties.blob_type, properties.append_blob_committed_block_count) == ("AppendBlob", 3)
    assert properties.content_settings.content_type == "text/plain"


def test_conditions(container):
    blob = container.get_blob_client("a")
    first = blob.upload_blob(b"1")
    with pytest.raises(ResourceExistsError) as caught:
        blob.upload_blob(b"2")
    assert caught.value.error_code == "BlobAlreadyExists"
    blob.upload_blob(b"2", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"3", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified)
    with pytest.raises(HttpResponseError) as unchanged:
        etag = blob.get_blob_properties().etag
        blob.download_blob(etag=etag, match_condition=MatchConditions.IfModified)
    assert unchanged.value.status_code == 304


def test_properties_and_copies(server, container):
    blob = container.get_blob_client("a")
    settings = ContentSettings("text/csv", "identity", "de", "attachment", "no-cache")
    blob.upload_blob(b"1,2", content_settings=settings, metadata={"k": "v"})
    got = blob.get_blob_properties()
    assert got.content_settings.content_md5
    assert (got.content_settings.content_type, got.content_settings.cache_control) == ("text/csv", "no-cache")
    blob.set_blob_metadata({"new": "1"})
    blob.set_http_headers(ContentSettings(content_type="text/plain"))
    got = blob.get_blob_properties()
    assert (got.metadata, got.content_settings.content_type) == ({"new": "1"}, "text/plain")
    copy = container.get_blob_client("b/copy")
    assert copy.start_copy_from_url(blob.url)["copy_status"] == "success"
    assert copy.get_blob_properties().copy.status == "success"
    sas = generate_container_sas(
        "acct", "data", server.key, permission="r", expiry=datetime.now(UTC) + timedelta(hours=1)
    )
    container.get_blob_client("c").upload_blob_from_url(f"{blob.url}?{sas}")
    assert [container.download_blob(name).readall() for name in ("b/copy", "c")] == [b"1,2"] * 2
    with pytest.raises(HttpResponseError) as caught:
        blob.set_standard_blob_tier("Archive")
    assert caught.value.error_code == "FeatureNotSupported"


def test_listings_and_batches(container):
    names = sorted(f"d{number % 3}/f{number:02}" for number in range(20))
    for name in names:
        container.upload_blob(name, b"1")
    assert [one.name for one in container.list_blobs(results_per_page=7)] == names
    top = list(container.walk_blobs())
    assert all(isinstance(one, BlobPrefix) for one in top)
    assert [one.name for one in top] == ["d0/", "d1/", "d2/"]
    assert [one.name for one in container.walk_blobs("d1/")] == [name for name in names if name.startswith("d1/")]
    answers = list(container.delete_blobs(*names[:10], "nope", raise_on_any_failure=False))
    assert [one.status_code for one in answers] == [202] * 10 + [404]
    assert [one.name for one in container.list_blobs()] == names[10:]


def test_containers(server):
    with server.service() as service:
        made = service.create_container("new", metadata={"a": "1"})
        assert made.exists()
        assert made.get_container_properties().metadata == {"a": "1"}
        made.set_container_metadata({"b": "2"})
        assert [(one.name, one.metadata) for one in service.list_containers(include_metadata=True)] == [
            ("data", {}),
            ("new", {"b": "2"}),
        ]
        with pytest.raises(ResourceExistsError):
            service.create_container("new")
        made.upload_blob("a", b"1")
        made.delete_container()
        assert not made.exists()
        with pytest.raises(ResourceNotFoundError):
            made.get_blob_client("a").download_blob()
        again = service.create_container("new")
        assert list(again.list_blobs()) == []


def test_expired_and_foreign_signatures(server, container):
    container.upload_blob("a", b"1")
    for sas in (server.port.sas("acct", "r", -1, "data"), server.port.sas("acct", "r", 60, "other")):
        with (
            BlobClient.from_blob_url(f"{server.url}/data/a?{sas}") as blob,
            pytest.raises(ClientAuthenticationError) as caught,
        ):
            blob.download_blob()
        assert (caught.value.status_code, caught.value.error_code) == (403, "AuthenticationFailed")


def test_one_date_header_and_an_untouched_connection(server):
    """Refusing a request whose body was not read must not spoil what comes next on the connection."""
    sas = server.port.sas("acct", "rw", 60, "data")
    with httpx.Client() as client:
        refused = client.put(f"{server.url}/data/a", content=b"x" * 300_000, headers={"x-ms-blob-type": "BlockBlob"})
        assert refused.status_code == 401
        for _ in range(2):
            put = client.put(f"{server.url}/data/a?{sas}", content=b"x", headers={"x-ms-blob-type": "BlockBlob"})
            assert put.status_code == 201
        assert len(put.headers.get_list("date")) == 1


def test_host_style_addresses(server):
    host = "acct.blob.core.smalt"
    sas = server.port.sas("acct", "rw", 60, "data")
    base = server.url.rpartition("/")[0]
    headers = {"host": host, "x-ms-blob-type": "BlockBlob"}
    assert httpx.put(f"{base}/data/h?{sas}", content=b"host", headers=headers).status_code == 201
    assert httpx.get(f"{server.url}/data/h?{sas}").content == b"host"


def test_fsspec(server, tmp_path):
    text = f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={server.key};BlobEndpoint={server.url};"
    files = adlfs.AzureBlobFileSystem(account_name="acct", connection_string=text, skip_instance_cache=True)
    with files.open("data/dir/a.txt", "wb") as file:
        file.write(b"hello")
    assert files.cat("data/dir/a.txt") == b"hello"
    assert files.info("data/dir/a.txt")["size"] == 5
    assert (files.isdir("data/dir"), files.exists("data/nope")) == (True, False)
    (tmp_path / "up/sub").mkdir(parents=True)
    for name in ("one", "sub/two"):
        (tmp_path / "up" / name).write_text(name)
    files.put(str(tmp_path / "up"), "data/tree", recursive=True)
    assert sorted(files.find("data/tree")) == ["data/tree/one", "data/tree/sub/two"]
    files.get("data/tree", str(tmp_path / "down"), recursive=True)
    assert (tmp_path / "down/sub/two").read_text() == "sub/two"
    files.cp_file("data/tree/one", "data/tree/three")
    assert files.ls("data/tree", detail=False) == ["data/tree/one", "data/tree/sub", "data/tree/three"]
    with files.open("data/dir/log", "ab") as file:
        file.write(b"1")
    with files.open("data/dir/log", "ab") as file:
        file.write(b"2")
    assert files.cat("data/dir/log") == b"12"
    files.rm("data/tree", recursive=True)
    assert not files.exists("data/tree")
    files.mkdir("fresh")
    assert files.exists("fresh")
    files.rmdir("fresh")
    files.invalidate_cache()
    assert "fresh" not in files.ls("")
