"""The edge of MLflow by itself: real tokens, a real blob store, no process of MLflow's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from smalt.arm.hub import Hub
from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.models import ModelRows
from smalt.arm.ports import Principal
from smalt.arm.runs import JobRuns
from smalt.auth.access import authorize
from smalt.auth.keyring import Keyring
from smalt.auth.tokens import TokenService, arm_audiences
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.settings import TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import metadata
from smalt.tracking.edge.app import TrackingApp
from smalt.tracking.runs.runs import MlflowTracking

WORKSPACE = workspace_id("s", "g", "W")
OTHER = workspace_id("s", "g", "Other")


class Edge:
    def __init__(self, root: Path) -> None:
        self.settings = Settings(root)
        database = Database(self.settings.database)
        with database.write() as connection:
            metadata.create_all(connection)
        self.blobs = BlobAccounts(Accounts(database, Keyring(self.settings)), FolderStore(self.settings.blobs))
        self.tokens = TokenService(self.settings)
        self.account = ""  # every workspace's, where it is given
        account_of = lambda workspace: self.account or "acct" + ResourceId.parse(workspace).name  # noqa: E731
        self.tracking = MlflowTracking(self.settings, account_of)
        self.app = TrackingApp(
            self.settings,
            self.tracking,
            self.tokens,
            self.blobs,
            files=self.blobs,
            audiences=arm_audiences(self.settings),
            exists=lambda workspace: workspace in (WORKSPACE.key, OTHER.key),
            authorize=authorize,
            models=ModelRows(database, Hub(), lambda: 0.0),
            jobs=JobRuns(database, self.tracking, lambda: 0.0),
            patience_s=0.1,
        )

    def token(self, scope: str = "", kind: str = "owner", audience: str = "", lifetime_s: float = 60) -> str:
        principal = Principal("11111111-0000-0000-0000-000000000000", "ada", kind, TENANT, scope=scope)
        return self.tokens.issue(principal, audience or self.settings.url, lifetime_s)

    def ask(
        self, method: str, path: str, workspace: ResourceId = WORKSPACE, prefix: str = "/mlflow/v1.0", **options: object
    ) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=self.settings.url) as client:
                headers = {"Authorization": f"Bearer {self.token()}"} | dict(options.pop("headers", {}))  # type: ignore[call-overload]
                return await client.request(method, f"{prefix}{workspace}{path}", headers=headers, **options)  # type: ignore[arg-type]

        return asyncio.run(main())
