"""One platform for these tests: MLflow's real process, the edge and the blobs behind real TLS, real tokens, two workspaces."""

from __future__ import annotations

import hmac
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from live.s3 import BUCKET, s3_server
from smalt.app import open_blobs
from smalt.arm.hub import Hub
from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.models import ModelRows
from smalt.arm.ports import Principal
from smalt.arm.runs import JobRuns
from smalt.auth.access import authorize
from smalt.auth.certificates import ensure_certificates
from smalt.auth.keyring import Keyring
from smalt.auth.tokens import TokenService, arm_audiences
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.accounts.sas import service_text, sign
from smalt.cli.root import remember
from smalt.settings import CLOUD, PORTAL, STORAGE_SUFFIX, TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import metadata
from smalt.tracking.address import tracking_uri
from smalt.tracking.database.migration import prepare
from smalt.tracking.edge.app import TrackingApp
from smalt.tracking.process.mlflow_server import command
from smalt.tracking.runs.runs import MlflowTracking

ALPHA = workspace_id("00000000-0000-0000-0000-000000000001", "smalt", "Alpha")
IDENTITY_SECRET = "identity-header"
BETA = workspace_id("00000000-0000-0000-0000-000000000001", "smalt", "Beta")


@dataclass
class Site:
    """`alpha` and `beta` are the workspaces that exist."""

    settings: Settings
    tracking: MlflowTracking
    tokens: TokenService
    blobs: BlobAccounts
    edge: TrackingApp
    database: Database
    process: subprocess.Popen[bytes] | None = None
    known: set[str] = field(default_factory=set[str])
    alpha: ResourceId = ALPHA
    beta: ResourceId = BETA

    def token(self, workspace: ResourceId | None = None, kind: str = "owner", lifetime_s: float = 3600) -> str:
        scope = workspace.key if workspace else ""
        principal = Principal("00000000-0000-0000-0000-00000000000b", "tester", kind, TENANT, scope=scope)
        return self.tokens.issue(principal, arm_audiences(self.settings)[0], lifetime_s)

    def client(self, workspace: ResourceId = ALPHA, token: str | None = None, **options: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        base = tracking_uri(self.settings, workspace)
        return httpx.Client(
            base_url=base,
            headers=headers,
            verify=ssl.create_default_context(cafile=self.settings.tls / "ca.pem"),
            timeout=90,
            limits=httpx.Limits(keepalive_expiry=3),  # the server's is 5 s: they would meet
        )

    def account_of(self, workspace: str) -> str:
        return "acct" + ResourceId.parse(workspace).name.lower()

    def artifact(self, name: str, workspace: ResourceId = ALPHA) -> bytes | None:
        """What is stored under the blob's name."""
        return self.blobs.read(self.account_of(workspace.key), "azureml", name, 1 << 20)

    def environment(self, workspace: ResourceId = ALPHA, **more: str) -> dict[str, str]:
        """What a client's process gets: nothing of this one's but PATH."""
        bundle = str(self.settings.tls / "bundle.pem")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.settings.root),
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "MLFLOW_TRACKING_URI": tracking_uri(self.settings, workspace),
            "MLFLOW_TRACKING_TOKEN": self.token(),
            "PYTHONWARNINGS": "ignore",
            **more,
        }

    def azureml_environment(self, workspace: ResourceId = ALPHA, **more: str) -> dict[str, str]:
        """As `smalt env` redirects a client: no MLflow token, the plugin signs in by itself."""
        env = self.environment(workspace, **more)
        del env["MLFLOW_TRACKING_TOKEN"]
        url = self.settings.url
        return env | {
            "MLFLOW_TRACKING_URI": tracking_uri(self.settings, workspace, "azureml"),
            "ARM_CLOUD_METADATA_URL": f"{url}/metadata/endpoints",
            "AZUREML_CURRENT_CLOUD": CLOUD,
            "IDENTITY_ENDPOINT": f"{url}/msi/token",
            "IDENTITY_HEADER": IDENTITY_SECRET,
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            command(self.settings), stdout=(self.settings.root / "mlflow.log").open("ab"), stderr=subprocess.STDOUT
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def wait_ready(self) -> None:
        with self.client() as client:
            for _ in range(6):  # each waits for a minute
                if client.get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default").status_code == 200:
                    return
                time.sleep(0.5)
        raise AssertionError((self.settings.root / "mlflow.log").read_text()[-2000:])


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of an S3 store; this process and MLflow's have what opens it."""
    with s3_server() as service, pytest.MonkeyPatch.context() as patch:
        for name, value in service.variables.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}/artifacts"


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """SQLite with artifacts in a folder; PostgreSQL with artifacts in S3."""
    url = request.getfixturevalue("postgres").create() if request.param == "postgresql" else ""
    store_url = request.getfixturevalue("bucket") if url else ""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    settings = Settings(
        tmp_path_factory.mktemp("tracking-site"), "localhost", listener.getsockname()[1], url, store_url
    )
    remember(settings)
    certificates = ensure_certificates(settings)
    database = Database(settings.database)
    with database.write() as connection:
        metadata.create_all(connection)
    accounts = Accounts(database, Keyring(settings))
    store, staging = open_blobs(settings)
    blobs, objects = BlobAccounts(accounts, store), StoreFiles(store, staging) if settings.remote_store else None
    tracking = MlflowTracking(settings, lambda workspace: "acct" + ResourceId.parse(workspace).name.lower())
    known = {ALPHA.key, BETA.key}
    edge = TrackingApp(
        settings,
        tracking,
        TokenService(settings),
        blobs,
        files=blobs,
        objects=objects,
        audiences=arm_audiences(settings),
        exists=lambda workspace: workspace in known,
        authorize=authorize,
        models=ModelRows(database, Hub(), time.time),
        jobs=JobRuns(database, tracking, time.time),
        told=JobRuns(database, tracking, time.time).hear,
        session=_session,
    )
    peers = Peers(settings, accounts, edge, "")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or TrackingApp.handles(scope["path"]):
            await edge(scope, receive, send)
        else:
            await (await peers.respond(Request(scope, receive)))(scope, receive, send)

    prepare(settings)  # its process ends where it has to make its tables
    made = Site(settings, tracking, TokenService(settings), blobs, edge, database, known=known)
    made.start()
    peers.token = made.token()
    config = uvicorn.Config(
        app, log_level="warning", ssl_certfile=certificates.server, ssl_keyfile=certificates.server_key
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        made.wait_ready()
        yield made
    finally:
        server.should_exit = True
        thread.join(10)
        made.kill()


def _session(method: str, headers: list[tuple[bytes, bytes]]) -> Principal | None:
    if (b"cookie", b"session=opened") not in headers:
        return None
    return Principal("00000000-0000-0000-0000-00000000000b", "browser", "owner", TENANT)


class Peers:
    def __init__(self, settings: Settings, accounts: Accounts, edge: TrackingApp, token: str) -> None:
        self.settings, self.accounts, self.edge, self.token = settings, accounts, edge, token

    async def respond(self, request: Request) -> Response:
        path = request.scope["path"]
        if path == "/metadata/endpoints":
            return JSONResponse([self._cloud()])
        if path == "/msi/token" and request.headers.get("x-identity-header") == IDENTITY_SECRET:
            expires = int(time.time()) + 3600
            answer = {"access_token": self.token, "expires_on": str(expires), "resource": "r", "token_type": "Bearer"}
            return JSONResponse(answer)
        if f".blob.{STORAGE_SUFFIX}/" in path:
            return await self._blob(request, path)
        return Response(status_code=404)

    def _cloud(self) -> dict[str, object]:
        return {
            "name": CLOUD,
            "portal": PORTAL,
            "resourceManager": self.settings.url,
            "authentication": {
                "loginEndpoint": "https://login.smalt",
                "audiences": [self.settings.url],
                "tenant": TENANT,
            },
            "suffixes": {"storage": STORAGE_SUFFIX, "keyVaultDns": "vault.smalt"},
            "graph": self.settings.url,
            "gallery": self.settings.url,
        }

    async def _blob(self, request: Request, path: str) -> Response:
        host, container, blob = unquote(path).lstrip("/").split("/", 2)
        account, query = host.partition(".")[0], dict(request.query_params)
        key = self.accounts.keys(account)
        assert key is not None
        expected = sign(key[0], service_text(account, container, blob, query))
        if not hmac.compare_digest(expected, query.get("sig", "")):
            return Response("SAS", 403)
        needed = "c" if request.method == "PUT" else "r"
        if needed not in query["sp"]:
            return Response("permission", 403)
        folder = self.edge._container(account, container)
        if request.method == "PUT":
            if folder.is_file(blob):
                return Response(status_code=409, headers={"x-ms-error-code": "BlobAlreadyExists"})
            with folder.replace(blob) as file:
                file.write(await request.body())
            return Response(status_code=201, headers={"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
        with folder.open(blob) as file:
            content = file.read()
        headers = {
            "Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}",
            "ETag": '"1"',
            "x-ms-blob-type": "BlockBlob",
            "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        }
        return Response(content, 206, headers)
