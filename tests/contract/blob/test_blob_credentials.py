"""All that azure-storage-blob can ask for, with each of its ways to name an account and to prove who asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobBlock,
    BlobLeaseClient,
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    StandardBlobTier,
)
from tests.contract.blob.conftest import TOKEN, Server

EVERYTHING = "racwdltf"


class TheToken:
    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3600)


class Plain(RequestsTransport):
    """The client sends tokens over TLS only; here is none."""

    def send(self, request: Any, **keywords: Any) -> Any:
        request.url = request.url.replace("https:", "http:", 1)
        return super().send(request, **keywords)


def sas(server: Server) -> str:
    return server.port.sas("acct", EVERYTHING, 3600)


CLIENTS: dict[str, Callable[[Server], BlobServiceClient]] = {
    "key": lambda server: BlobServiceClient(server.url, credential=server.key),
    "named key": lambda server: BlobServiceClient(server.url, credential=AzureNamedKeyCredential("acct", server.key)),
    "connection string": lambda server: BlobServiceClient.from_connection_string(
        f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={server.key};BlobEndpoint={server.url};"
    ),
    "connection string with a slash": lambda server: BlobServiceClient.from_connection_string(
        f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={server.key};BlobEndpoint={server.url}/;"
    ),
    "connection string with a SAS": lambda server: BlobServiceClient.from_connection_string(
        f"BlobEndpoint={server.url};SharedAccessSignature={sas(server)}"
    ),
    "SAS": lambda server: BlobServiceClient(server.url, credential=AzureSasCredential(sas(server))),
    "SAS in the URL": lambda server: BlobServiceClient(f"{server.url}?{sas(server)}"),
    "token": lambda server: BlobServiceClient(
        server.url.replace("http:", "https:"), credential=TheToken(), transport=Plain()
    ),
}


@pytest.fixture
def server(server: Server) -> Server:
    if server.folder is None:
        pytest.skip("names and credentials are one for all stores")
    return server


@pytest.fixture(params=CLIENTS)
def service(request: pytest.FixtureRequest, server: Server) -> Iterator[BlobServiceClient]:
    with CLIENTS[request.param](server) as made:
        yield made


def test_everything_works_with_every_credential(service: BlobServiceClient, server: Server) -> None:
    _account(service)
    container = service.create_container("work", metadata={"Team": "Blue"})
    try:
        _container(container)
        _blobs(container)
        _blocks_and_appends(container)
        _copies(container, sas(server))
        _leases(container)
        _tags(service, container)
        _snapshots(container)
        _batches(container)
    finally:
        service.delete_container("work")
    assert "work" not in [one.name for one in service.list_containers()]


def _account(service: BlobServiceClient) -> None:
    assert service.get_account_information()["account_kind"] == "StorageV2"
    assert service.get_service_properties()["static_website"].enabled is False
    assert [one.name for one in service.list_containers(name_starts_with="da")] == ["data"]


def _container(container: ContainerClient) -> None:
    assert container.exists()
    assert container.get_container_properties().metadata == {"Team": "Blue"}
    container.set_container_metadata({"Team": "Red"})
    assert container.get_container_access_policy()["public_access"] is None
    lease = container.acquire_lease(15)
    lease.renew()
    assert container.get_container_properties().lease.state == "leased"
    lease.release()


def _blobs(container: ContainerClient) -> None:
    names = ["a//b", "a/b", "a", "a/", "ü b+c%~.csv", "dir/sub/deep", "x.", "l" * 300]
    for name in names:
        settings = ContentSettings(content_type="text/csv")
        container.upload_blob(name, name.encode(), metadata={"Name": "1"}, content_settings=settings)
    assert [one.name for one in container.list_blobs()] == sorted(names)
    assert list(container.list_blob_names(name_starts_with="a/")) == ["a/", "a//b", "a/b"]
    walked = [one.name for one in container.walk_blobs(delimiter="/") if isinstance(one, BlobPrefix)]
    assert walked == ["a/", "dir/"]
    for name in names:
        blob = container.get_blob_client(name)
        assert blob.exists()
        assert blob.download_blob().readall() == name.encode()
        assert blob.download_blob(offset=0, length=1).readall() == name.encode()[:1]
        blob.set_blob_metadata({"Other": "2"})
        blob.set_http_headers(ContentSettings(content_type="text/plain"))
        properties = blob.get_blob_properties()
        assert (properties.metadata, properties.content_settings.content_type) == ({"Other": "2"}, "text/plain")
        blob.set_standard_blob_tier(StandardBlobTier.COOL)
        assert blob.get_blob_properties().blob_tier == "Cool"
        blob.delete_blob()
    assert list(container.list_blobs()) == []


def _blocks_and_appends(container: ContainerClient) -> None:
    blocks, log = container.get_blob_client("blocks"), container.get_blob_client("log")
    blocks.stage_block("MQ==", b"1")
    assert len(blocks.get_block_list("all")[1]) == 1
    blocks.commit_block_list([BlobBlock("MQ==")], tags=None)
    log.create_append_blob()
    log.append_block(b"one")
    log.upload_blob(b"two", blob_type="AppendBlob")
    assert (blocks.download_blob().readall(), log.download_blob().readall()) == (b"1", b"onetwo")


def _copies(container: ContainerClient, token: str) -> None:
    source = container.get_blob_client("blocks")
    url = source.url.partition("?")[0] + "?" + token
    container.get_blob_client("copy/1").start_copy_from_url(url)
    container.get_blob_client("copy/2").start_copy_from_url(url, requires_sync=True)
    container.get_blob_client("copy/3").upload_blob_from_url(url)
    assert [container.download_blob(f"copy/{number}").readall() for number in (1, 2, 3)] == [b"1"] * 3


def _leases(container: ContainerClient) -> None:
    blob = container.get_blob_client("leased")
    blob.upload_blob(b"1")
    lease = blob.acquire_lease(15)
    assert _code(lambda: blob.upload_blob(b"2")) == "LeaseIdMissing"
    assert _code(lambda: blob.upload_blob(b"2", overwrite=True)) == "LeaseIdMissing"
    blob.upload_blob(b"2", overwrite=True, lease=lease)
    lease.renew()
    lease.change("aaaaaaaa-0000-4000-8000-000000000000")
    assert _code(lambda: blob.delete_blob(lease="bbbbbbbb-0000-4000-8000-000000000000")).startswith("LeaseIdMismatch")
    assert [one.lease.state for one in container.list_blobs(name_starts_with="leased")] == ["leased"]
    assert BlobLeaseClient(blob).break_lease(0) == 0
    blob.delete_blob()


def _tags(service: BlobServiceClient, container: ContainerClient) -> None:
    blob = container.get_blob_client("tagged")
    blob.upload_blob(b"1", tags={"state": "new", "a b": "c/d"})
    assert blob.get_blob_tags() == {"state": "new", "a b": "c/d"}
    blob.set_blob_tags({"state": "done"})
    assert blob.get_blob_properties().tag_count == 1
    for found in (
        service.find_blobs_by_tags("@container='work' AND state='done'"),
        container.find_blobs_by_tags("\"state\" = 'done'"),
    ):
        assert [(one.container_name, one.name, one.tags) for one in found] == [("work", "tagged", {"state": "done"})]
    assert [one.tags for one in container.list_blobs("tagged", include=["tags"])] == [{"state": "done"}]
    with pytest.raises(ResourceModifiedError):
        blob.delete_blob(if_tags_match_condition="state='new'")


def _snapshots(container: ContainerClient) -> None:
    blob = container.get_blob_client("kept")
    blob.upload_blob(b"old")
    taken = blob.create_snapshot()["snapshot"]
    blob.upload_blob(b"new", overwrite=True)
    snapshot = container.get_blob_client("kept", snapshot=taken)
    assert snapshot.download_blob().readall() == b"old"
    assert snapshot.get_blob_properties().snapshot == taken
    listed = container.list_blobs("kept", include=["snapshots", "metadata", "copy", "deleted", "versions"])
    assert [(one.name, one.snapshot) for one in listed] == [("kept", taken), ("kept", None)]
    assert _code(blob.delete_blob) == "SnapshotsPresent"
    snapshot.delete_blob()
    blob.create_snapshot()
    blob.delete_blob(delete_snapshots="include")


def _batches(container: ContainerClient) -> None:
    names = ["batch/1", "batch//2", "batch/ü 3"]
    for name in names:
        container.upload_blob(name, b"1")
    set_ = container.set_standard_blob_tier_blobs(StandardBlobTier.COLD, *names)
    assert [one.status_code for one in set_] == [200] * 3
    assert [one.blob_tier for one in container.list_blobs(name_starts_with="batch")] == ["Cold"] * 3
    answers = container.delete_blobs(*names, "none", raise_on_any_failure=False)
    assert [one.status_code for one in answers] == [202, 202, 202, 404]
    assert list(container.list_blobs(name_starts_with="batch")) == []


def _code(call: Callable[[], object]) -> str:
    with pytest.raises(HttpResponseError) as caught:
        call()
    code = caught.value.error_code
    return str(getattr(code, "value", code))


def test_a_client_gives_up_at_once_where_there_is_no_space(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalt.blob.store.staging import Staging

    def full(_: object) -> tuple[str, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Staging, "create", full)
    with server.service() as service:
        began = datetime.now(UTC)
        assert _code(lambda: service.get_container_client("data").upload_blob("a", b"1")) == "InsufficientStorage"
        assert datetime.now(UTC) - began < timedelta(seconds=5)  # the shortest pause of a retry is longer than ten
