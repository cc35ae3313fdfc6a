"""What waits for a database or a busy peer does not hold up who needs neither: the routes of the whole server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from live.patience import PATIENCE_S
from smalt import app as server
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.settings import RESOURCE_GROUP, STORAGE_AUDIENCE, SUBSCRIPTION, TENANT, WORKSPACE, Settings
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.tables import identity
from smalt.tracking.runs.runs import MlflowTracking

HOME = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
OID = "00000000-0000-0000-0000-00000000000b"


class Site:
    def __init__(self, root: Path) -> None:
        self.settings = Settings(root)
        self.server = server.build(self.settings)
        self.platform = self.server.platform
        self.server.loop.run_due()
        with self.platform.database.read() as connection:
            row = resources.get(connection, HOME)
        assert row is not None
        self.account = row.status["account"]
        known = {
            "oid": OID,
            "kind": "servicePrincipal",
            "name": "ada",
            "client_id": "c",
            "scope": "",
            "federation": "[]",
        }
        with self.platform.database.write() as connection:
            connection.execute(identity.insert().values(**known, created_at=0.0))

    def token(self, audience: str = "", kind: str = "owner", scope: str = "", name: str = "ada") -> dict[str, str]:
        principal = Principal(OID, name, kind, TENANT, scope=scope)
        issued = self.platform.tokens.issue(principal, audience or self.settings.url, 600)
        return {"Authorization": f"Bearer {issued}"}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.server.app), base_url=self.settings.url)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(main())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("server")
    for name in ("run", "logs", "secrets", "tls", "gateway"):
        (root / name).mkdir(mode=0o700)
    return Site(root)


class Held:
    """Reads of the database: each waits until somebody else, who came after it, was answered."""

    def __init__(self) -> None:
        self.reads, self.stopped = 0, list[str]()
        self._answered, self._changed = 0, threading.Condition()

    def answered(self) -> None:
        with self._changed:
            self._answered += 1
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self.reads += 1
            behind = self._answered + 2  # the first of them may have been on its way
            if not self._changed.wait_for(lambda: self._answered >= behind, PATIENCE_S):
                self.stopped.append(threading.current_thread().name)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    read, one = Database.read, Held()

    @contextmanager
    def waits(self: Database) -> Iterator[Any]:
        one.wait()
        with read(self) as connection:
            yield connection

    monkeypatch.setattr(Database, "read", waits)
    return one


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("GET", f"{HOME}/jobs", "arm"),
        ("GET", f"/history/v1.0{HOME}/runs/none", "arm"),
        ("POST", f"/history/v1.0{HOME}/rundata", "arm"),
        ("POST", f"/data/v1.0{HOME}/dataversion/batchGetResolvedUris", "arm"),
        ("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow-artifacts/artifacts", "arm"),
        ("GET", "/msi/token?api-version=2019-08-01&resource=x", "header"),
        ("PUT", "/{account}.blob.core.smalt/azureml/new.txt", "blob"),
        ("GET", "/{account}.blob.core.smalt/none/x", "blob"),
        ("GET", "/{account}.blob.core.smalt/azureml/x?sv=2023-11-03&sr=c&sig=x&se=2030-01-01&sp=r", "sas"),
    ],
)
def test_a_slow_database_does_not_stop_the_event_loop(
    site: Site, held: Held, method: str, path: str, what: str
) -> None:
    scope = {"scope": HOME, "kind": "job", "name": "job:none"}
    header = site.platform.identity_headers.mint(Principal("o", "job:none", "job", TENANT, scope=HOME), 60)
    headers = {
        "arm": site.token(**scope),
        "blob": site.token(STORAGE_AUDIENCE, **scope),
        "header": {"x-identity-header": header},
        "sas": {},
    }[what]
    headers = headers | {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2023-11-03"}

    async def main() -> None:
        async with site.client() as client:
            content = b"{}" if method in ("PUT", "POST") else None
            asked = asyncio.create_task(
                client.request(method, path.format(account=site.account), headers=headers, content=content)
            )
            while not asked.done():
                assert (await client.get("/healthz")).status_code == 200
                held.answered()
                await asyncio.sleep(0.001)
            assert (await asked).status_code < 500

    asyncio.run(main())
    assert held.reads and held.stopped == []


def test_what_waits_for_mlflow_leaves_arm_and_files_their_threads(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go, waiting = threading.Event(), threading.Semaphore(0)

    def busy(*_: Any) -> None:
        waiting.release()
        assert go.wait(2 * PATIENCE_S)
        raise ArmError(503, "ServerBusy", "mlflow.db is busy")

    monkeypatch.setattr(MlflowTracking, "ensure_workspace", busy)

    async def main() -> None:
        async with site.client() as client:
            many = [
                asyncio.create_task(
                    client.get(f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/get?run_id={number}", headers=site.token())
                )
                for number in range(60)
            ]
            await asyncio.to_thread(waiting.acquire)
            await asyncio.sleep(0.2)
            try:
                for path, status in (
                    (f"{HOME}/jobs", 200),
                    (f"/mlflow/v1.0{HOME}/api/2.0/mlflow-artifacts/artifacts", 200),
                    (f"/history/v1.0{HOME}/runs/none", 404),
                ):
                    answer = await asyncio.wait_for(client.get(path, headers=site.token()), PATIENCE_S)
                    assert answer.status_code == status, answer.text
            finally:
                go.set()
            assert {one.status_code for one in await asyncio.gather(*many)} == {503}

    asyncio.run(main())


BROKEN = [
    "/adfs/oauth2/token", "/adfs/common/oauth2/v2.0/token", f"{HOME}/jobs/x", f"/history/v1.0{HOME}/rundata",
    f"/mlflow/v1.0{HOME}/api/2.0/mlflow/runs/create", f"/mlflow/v1.0{HOME}/api/2.0/mlflow-artifacts/artifacts/x/y",
    f"/history/v1.0{HOME}/experiments/e/runs/r/artifacts/batch/metadata", "/{account}.blob.core.smalt/azureml/x",
]  # fmt: skip


@pytest.mark.parametrize("path", BROKEN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_that_breaks_off_leaves_no_traceback(
    site: Site, caplog: pytest.LogCaptureFixture, path: str, method: str
) -> None:
    path = path.format(account=site.account)
    audience = STORAGE_AUDIENCE if "blob.core" in path else ""
    headers = [(name.lower().encode(), value.encode()) for name, value in site.token(audience).items()]
    headers += [(b"content-length", b"100"), (b"x-ms-blob-type", b"BlockBlob"), (b"content-type", b"application/json")]
    came = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(came, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "scheme": "https",
        "client": None,
        "server": None,
        "http_version": "1.1",
        "root_path": "",
        "asgi": {"spec_version": "2.3"},
    }
    asyncio.run(site.server.app(scope, receive, send))
    assert [message["status"] for message in sent if "status" in message and message["status"] >= 500] == []
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/constraints/x.txt",
        "/constraints/%3Cscript%3E",
        "/msi/token",
        "/metadata/endpoints",
        "/nothing",
        "/login",
        "/jobs/x",
        "/adfs/oauth2/token",
        f"{HOME}/jobs",
        "/subscriptions/%3Cscript%3E/x",
        f"/history/v1.0{HOME}/runs/x",
        "/discovery",
        f"/mlflow/v1.0{HOME}/nothing",
        f"/mlflow/v1.0{HOME}",
    ],
)
def test_no_answer_is_taken_for_something_else(site: Site, path: str) -> None:
    for headers in ({}, site.token()):
        answer = site.ask("GET", path, headers=headers)
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert "<script>" not in answer.text or not answer.headers["content-type"].startswith("text/html")


SCOPES = [
    "/subscriptions/x",
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}",
    f"/subscriptions/{SUBSCRIPTION}",
    "x",
    "//",
    HOME[:-1],
    HOME,
]
SURFACES = [
    ("GET", f"{HOME}/jobs", ""), ("GET", HOME, ""), ("GET", f"/history/v1.0{HOME}/runs/none", ""),
    ("GET", f"/mlflow/v1.0{HOME}/api/2.0/mlflow-artifacts/artifacts", ""),
    ("GET", "/{account}.blob.core.smalt/azureml?restype=container&comp=list", STORAGE_AUDIENCE),
    ("PUT", "/{account}.blob.core.smalt/azureml/x", STORAGE_AUDIENCE),
]  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "kind", ["job", "endpoint", "servicePrincipal", "managedIdentity", "assignedIdentity", "owner"]
)
def test_a_scope_of_any_shape_gets_a_right_answer_everywhere(site: Site, kind: str, scope: str) -> None:
    inside = HOME.lower().startswith(scope.lower() + "/") or scope == HOME
    for method, path, audience in SURFACES:
        headers = site.token(audience, kind, scope, "job:none" if kind == "job" else "endpoint:none")
        headers |= {"x-ms-version": "2023-11-03", "x-ms-blob-type": "BlockBlob"}
        status = site.ask(method, path.format(account=site.account), headers=headers).status_code
        allowed = inside and kind in ("servicePrincipal", "managedIdentity", "assignedIdentity", "owner")
        assert status in ((200, 201, 404) if allowed else (401, 403)), (method, path, status)
