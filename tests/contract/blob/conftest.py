"""The blob app on a socket, over files and over a remote store."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from azure.storage.blob import BlobServiceClient, ContainerClient
from obstore.store import AzureStore, MemoryStore

from fakes.objects import BUCKET
from live.patience import PATIENCE_S
from live.ports import await_port, free_port
from live.s3 import BUCKET as BUCKET_OF_S3
from live.s3 import S3, s3_server
from live.tools import wanting
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal, Tokens
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.http import BlobProtocol
from smalt.blob.server import BlobApp
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import ObjectInfo, ObjectStore
from smalt.blob.store.opening import open_store
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
    assert started.wait(PATIENCE_S)
    folder = tmp_path / "blobs/acct/data" if request.param == "folder" else None
    yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}/acct.blob.core.smalt", key, port, folder)
    running.should_exit = True
    thread.join(PATIENCE_S)
    service.close()
    database.close()


@pytest.fixture
def container(server: Server) -> Iterator[ContainerClient]:
    with server.service() as service:
        yield service.get_container_client("data")


ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, published


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an Azurite that this session started."""
    folder = os.environ.get("SMALT_AZURITE") or _install(tmp_path_factory.mktemp("azurite"))
    main = Path(folder) / "node_modules/azurite/dist/src/blob/main.js"
    port = free_port()
    data = tmp_path_factory.mktemp("azurite-data")
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(data)]
    process = subprocess.Popen(["node", str(main), "--blobPort", str(port), *options], stdout=subprocess.DEVNULL)
    try:
        await_port(port, process, "Azurite")
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _install(folder: Path) -> str:
    if not shutil.which("npm") or not shutil.which("node"):
        wanting("Azurite", "node and npm are not on PATH; install them, or set SMALT_AZURITE to a folder that has it")
    done = subprocess.run(["npm", "install", "azurite"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        wanting("Azurite", f"npm could not install it: {done.stderr[-300:]}")
    return str(folder)


@pytest.fixture(params=["folder", "folder-without-openat2", "memory", "s3", "azurite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param.startswith("folder"):
        made = FolderStore(tmp_path / "blobs", beneath=Beneath(use_openat2=request.param == "folder"))
        yield made
        made.close()
    elif request.param == "memory":
        yield ObstoreStore(MemoryStore())
    elif request.param == "s3":
        service, monkeypatch = request.getfixturevalue("s3"), request.getfixturevalue("monkeypatch")
        for variable, value in service.variables.items():
            monkeypatch.setenv(variable, value)
        yield open_store(f"s3://{BUCKET_OF_S3}/some/where{time.time_ns():x}")
    else:
        url = request.getfixturevalue("azurite")
        name = f"c{time.time_ns():x}"
        client = BlobServiceClient(url, credential=KEY)
        client.create_container(name)
        yield ObstoreStore(
            AzureStore(
                container_name=name,
                config={"account_name": ACCOUNT, "account_key": KEY, "endpoint": url, "use_emulator": False},
                client_options={"allow_http": True},
            )
        )
        client.delete_container(name)
        client.close()


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "blobs")


@pytest.fixture
def put(store: ObjectStore, staging: Staging) -> Callable[..., ObjectInfo]:
    def write(name: str, data: bytes = b"x", replace: bool = True) -> ObjectInfo:
        return store.put(BUCKET, name, staging.write(data), replace)

    return write
