"""The Studio's site with files: a real store behind the Blob protocol, and the route that opens datastores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from fakes.platform import WORKSPACE
from fakes.studio import StudioSite
from smalt.agent.wire import Ref
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts
from smalt.blob.names import is_blob_request
from smalt.blob.operations.service import BlobService
from smalt.blob.server import BlobApp
from smalt.blob.store.folder import FolderStore
from smalt.tracking.dataplane.datastores import DatastoreApp

UPLOADS = "azureml://datastores/workspaceblobstore/paths"


class FilesSite(StudioSite):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        harness, store = self.harness, FolderStore(root / "blobs")
        self.service = BlobService(Accounts(harness.database, Keyring(harness.settings)), store, store.staging)
        self.blobs = BlobApp(self.service, None)
        self.datastores = DatastoreApp(harness.platform, self._who, self._authorize, lambda *_: True)
        found = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        self.place = str(found["accountName"]), str(found["containerName"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_blob_request(scope):
            await self.blobs(scope, receive, send)
        elif DatastoreApp.handles(scope["path"]):
            await self.datastores(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def close(self) -> None:
        self.service.close()
        self.harness.close()

    def upload(self, name: str, content: bytes) -> str:
        """A blob of the workspace's own datastore; returns its address."""
        self.harness.blobs.write(Ref(*self.place, name), content)
        return f"{UPLOADS}/{name}"

    def version(self, path: str, **properties: Any) -> None:
        answer = self.harness.put(f"{WORKSPACE}/{path}", {"properties": properties})
        assert answer.status_code in (200, 201, 202), answer.text
