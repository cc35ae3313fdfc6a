"""The blob app on a socket, over files and over a remote store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from azure.storage.blob import BlobServiceClient, ContainerClient
from obstore.store import MemoryStore

from live.s3 import S3, s3_server
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal, Tokens
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.http import BlobProtocol
from smalt.blob.server import BlobApp
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.staging import Staging
from smalt.settings import TENANT, Settings
from smalt.store import tables
from smalt.store.database import Database

TOKEN = "the owner's token"


@dataclass
class Server:
    """`url` is the account's, path style."""

    url: str
    key: str
    port: BlobAccounts
    folder: Path | None

    def service(self) -> BlobServiceClient:
        return BlobServiceClient(self.url, credential=self.key)


class Owner(Tokens):
    """One token opens everything."""

    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str:
        return TOKEN

    def verify(self, token: str, audiences: Sequence[str]) -> Principal:
        if token != TOKEN:
            raise ArmError(401, "InvalidAuthenticationToken", "This is not the token.")
        return Principal("oid", "owner", "user", TENANT, "client")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with s3_server() as service:
        yield service


@pytest.fixture(params=["folder", "remote"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    database = Database(f"sqlite:///{tmp_path / 'smalt.db'}")
    with database.write() as connection:
        tables.metadata.create_all(connection)
    staging = Staging(tmp_path / "blobs")
    store = FolderStore(tmp_path / "blobs", staging) if request.param == "folder" else ObstoreStore(MemoryStore())
    accounts = Accounts(database, Keyring(Settings(tmp_path)))
    service = BlobService(accounts, store, staging)
    port = BlobAccounts(accounts, store)
    key = port.ensure_account("acct")
    port.ensure_container("acct", "data")
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    config = uvicorn.Config(
        BlobApp(service, Owner()),
        loop="uvloop",
        http=BlobProtocol,
        access_log=False,
        lifespan="off",
        log_level="warning",
    )
    running = Announced(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    assert started.wait(20)
    folder = tmp_path / "blobs/acct/data" if request.param == "folder" else None
    yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}/acct.blob.core.smalt", key, port, folder)
    running.should_exit = True
    thread.join(20)
    service.close()
    database.close()


@pytest.fixture
def container(server: Server) -> Iterator[ContainerClient]:
    with server.service() as service:
        yield service.get_container_client("data")
