"""A place to upload an asset's files to: a container of its own, opened by a signature for some hours."""

from __future__ import annotations

import uuid
from typing import Any

from smalt.arm.errors import not_found
from smalt.arm.kind import Request
from smalt.kinds.assets.lifetimes import signature_hours
from smalt.store import resources
from smalt.store.resources import Row


def pending_upload(request: Request, row: Row | None) -> tuple[int, Any]:
    """A container of its own for one upload, opened by a SAS."""
    platform = request.platform
    with platform.database.read() as connection:
        home = resources.get(connection, request.id.home.key)
    if home is None or not home.status.get("account"):
        raise not_found("Workspace", request.id.home.name)
    account, container_name = home.status["account"], f"{request.id.path[1][0].lower()}-{uuid.uuid4()}"
    platform.blobs.ensure_container(account, container_name)
    token = platform.blobs.sas(account, "rwdlac", signature_hours(request.principal) * 3600, container=container_name)
    url = f"{platform.settings.account_url(account)}/{container_name}"
    return 200, {
        "pendingUploadId": str(uuid.uuid4()),
        "pendingUploadType": "TemporaryBlobReference",
        "blobReferenceForConsumption": {
            "blobUri": url,
            "storageAccountArmId": f"{request.id.home}/storageAccounts/{account}",
            "credential": {"credentialType": "SAS", "sasUri": f"{url}?{token}"},
        },
    }
