"""The blob app on a real database and real files, called as a server would call it, without a socket."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fakes.databases import with_schema
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.operations.service import BlobService
from smalt.blob.server import BlobApp
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.staging import Staging
from smalt.settings import STORAGE_SUFFIX, Settings
from smalt.store import tables

ACCOUNT = "acct"
CONTAINER = "data"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    unread: int = 0  # pieces of the request's body that were left

    @property
    def code(self) -> str:
        return self.headers.get("x-ms-error-code", "")

    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)

    def names(self) -> list[str]:
        return [element.text or "" for element in self.xml().iter("Name")]


@dataclass
class Rig:
    """A started blob service. `request` authorizes itself with an account SAS unless told otherwise."""

    root: Path
    staging: Staging | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    ahead_s: float = 0.0  # how far the service's clock is ahead of ours

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.database = with_schema(self.root / "smalt.db")
        self.store = FolderStore(self.root / "blobs", self.staging)
        self.accounts = Accounts(self.database, Keyring(Settings(self.root)), self.now)
        self.service = BlobService(self.accounts, self.store, self.store.staging, self.now)
        self.app = BlobApp(self.service, None)
        self.port = BlobAccounts(self.accounts, self.store)
        self.key = self.port.ensure_account(ACCOUNT)
        self.port.ensure_container(ACCOUNT, CONTAINER)
        self.sas = self.port.sas(ACCOUNT, "racwdltf", 3600)

    def now(self) -> float:
        return time.time() + self.ahead_s

    @property
    def folder(self) -> Path:
        """Where the container's blobs are files."""
        return self.root / "blobs" / ACCOUNT / CONTAINER

    def request(
        self,
        method: str,
        path: str = "",
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes | Sequence[bytes] = b"",
        auth: str | None = None,
        container: str = CONTAINER,
        cut: bool = False,
    ) -> Reply:
        """`path` is the percent-encoded blob name; `auth` replaces the SAS; `cut`: the client goes away after the body."""
        place = "/".join(part for part in (f"/{ACCOUNT}.blob.{STORAGE_SUFFIX}", container, path) if part)
        pieces = [body] if isinstance(body, bytes) else list(body)
        sent = {"host": "127.0.0.1:1", "x-ms-version": "2023-11-03", **(headers or {})}
        if method in ("PUT", "POST"):
            sent.setdefault("content-length", str(sum(map(len, pieces))))
        full = "&".join(part for part in (query, self.sas if auth is None else auth) if part)
        return self.loop.run_until_complete(self._call(method, place, full, sent, pieces, cut))

    def put(self, name: str, data: bytes = b"x", **headers: str) -> Reply:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.request("PUT", name, headers={"x-ms-blob-type": "BlockBlob", **given}, body=data)

    def get(self, name: str, **headers: str) -> Reply:
        return self.request("GET", name, headers={key.replace("_", "-"): value for key, value in headers.items()})

    def rows(self) -> int:
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(tables.blob)).scalar_one()

    def staged_files(self) -> list[str]:
        self._finish_removals()
        return [name for _, _, names in os.walk(self.root / "blobs/.staging") for name in names]

    def _finish_removals(self) -> None:
        """Until the service's threads have done what was given to them before."""
        pool = self.service._pool
        together = threading.Barrier(pool._max_workers)
        with suppress(RuntimeError):  # it is shut down
            wait([pool.submit(together.wait) for _ in range(pool._max_workers)])

    def close(self) -> None:
        self.service.close()
        self.store.close()
        self.database.close()
        self.loop.close()

    async def _call(
        self, method: str, path: str, query: str, headers: dict[str, str], pieces: list[bytes], cut: bool
    ) -> Reply:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            "scheme": "http",
            "client": ("127.0.0.1", 1),
        }
        pending = list(pieces)
        answer = Reply(0, {}, b"")

        async def receive() -> dict[str, object]:
            if not pending:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pending.pop(0), "more_body": bool(pending) or cut}

        async def send(message: dict) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            else:
                answer.body += message["body"]

        await self.app(scope, receive, send)  # type: ignore[arg-type]
        answer.unread = len(pending)
        return answer


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "root")
    yield made
    made.close()


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[type[Rig]]:
    """For tests that need another staging area or a second start on the same root."""
    made: list[Rig] = []

    class Tracked(Rig):
        def __post_init__(self) -> None:
            super().__post_init__()
            made.append(self)

    yield Tracked
    for one in made:
        if not one.loop.is_closed():
            one.close()
