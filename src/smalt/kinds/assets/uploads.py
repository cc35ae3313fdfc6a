"""Where an asset's files are uploaded to and downloaded from: a container of its own, opened by a signature.

https://learn.microsoft.com/rest/api/azureml/registry-model-versions/create-or-get-start-pending-upload
"""

from __future__ import annotations

import uuid
from typing import Any

from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document, Request
from smalt.kinds.assets import addresses, registries
from smalt.kinds.assets.addresses import InAccount
from smalt.kinds.assets.lifetimes import signature_hours
from smalt.store import resources
from smalt.store.resources import Row

_URIS = ("modelUri", "dataUri", "codeUri")


def pending_upload(request: Request, row: Row | None) -> tuple[int, Any]:
    """A container of its own for one upload, opened by a SAS. Raises ArmError(404) without a home."""
    home = request.id.home
    with request.platform.database.read() as connection:
        above = resources.get(connection, home.key)
    if above is None or not above.status.get("account"):
        raise not_found("Registry" if home.kind == "registries" else "Workspace", home.name)
    account, container = str(above.status["account"]), f"{request.id.path[1][0].lower()}-{uuid.uuid4()}"
    request.platform.blobs.ensure_container(account, container)
    return 200, {
        "pendingUploadId": str(uuid.uuid4()),
        "pendingUploadType": "TemporaryBlobReference",
        "blobReferenceForConsumption": _reference(request, home, account, container, "rwdlac"),
    }


def blob_reference(request: Request, row: Row | None) -> tuple[int, Any]:
    """The container of a version's files, to be read. Raises ArmError(400, 404)."""
    assert row is not None
    given = request.body.get("blobUri")
    address = _files(request, row)
    if address is None or not _in_registry(request, address.account):
        raise invalid(f"Version {row.name} has no files in the registry's storage.", "blobUri")
    account, container = address.account, address.container
    if given and _container(request, str(given)) != (account, container):
        raise ArmError(404, "ResourceNotFound", f"Version {row.name} has no files at {str(given)[:200]}.", "blobUri")
    return 200, {"blobReferenceForConsumption": _reference(request, request.id.home, account, container, "rl")}


def _in_registry(request: Request, account: str) -> bool:
    """Whose files everybody reads: a signature for any other account would open it to everybody, too."""
    with request.platform.database.read() as connection:
        return registries.owns(connection, account)


def _reference(request: Request, home: ResourceId, account: str, container: str, letters: str) -> Document:
    blobs, lifetime = request.platform.blobs, signature_hours(request.principal) * 3600
    url = f"{request.platform.settings.account_url(account)}/{container}"
    return {
        "blobUri": url,
        "storageAccountArmId": f"{home}/storageAccounts/{account}",
        "credential": {
            "credentialType": "SAS",
            "sasUri": f"{url}?{blobs.sas(account, letters, lifetime, container=container)}",
        },
    }


def _files(request: Request, row: Row) -> InAccount | None:
    uri = next((row.properties[name] for name in _URIS if row.properties.get(name)), None)
    uri = uri or (row.properties.get("build") or {}).get("contextUri")
    return _address(request, str(uri)) if uri else None


def _container(request: Request, uri: str) -> tuple[str, str] | None:
    found = _address(request, uri)
    return (found.account, found.container) if found else None


def _address(request: Request, uri: str) -> InAccount | None:
    settings = request.platform.settings
    try:
        found = addresses.parse(uri, f"{settings.host}:{settings.port}", is_code=True)
    except addresses.NotAnAddress:
        return None
    return found if isinstance(found, InAccount) else None
