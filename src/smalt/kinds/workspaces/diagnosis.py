"""What a workspace's `diagnose` looks at: each check goes to the thing itself, and only what is wrong is reported."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.ports.serving import GATEWAY
from smalt.kinds.assets.datastore import DEFAULTS, hosted_place
from smalt.kinds.assets.references import datastores
from smalt.store import resources
from smalt.store.resources import Row

_ANSWER_S = 2.0
_LITTLE_BYTES = 5 * 1024**3
_TOO_LITTLE_BYTES = 256 * 1024**2
_NOT_HERE = ("userDefinedRouteResults", "networkSecurityRuleResults", "resourceLockResults", "dnsResolutionResults",
             "keyVaultResults", "containerRegistryResults", "applicationInsightsResults")  # fmt: skip


def diagnose(request: Request, row: Row | None) -> tuple[int, Any]:
    """Lists of {"code", "level", "message"}. That this answers at all says that the database does."""
    assert row is not None
    platform = request.platform
    with platform.database.read() as connection:
        stores = resources.get_many(connection, datastores(connection, ResourceId.parse(row.written))).values()
        gateway = resources.get(connection, GATEWAY)
    other = [*_disk(platform), *_mlflow(platform, row), *_gateway(platform, gateway)]
    storage = list(_storage(platform, row, list(stores)))
    return 200, {"value": {"storageAccountResults": storage, "otherResults": other, **{part: [] for part in _NOT_HERE}}}


def _result(code: str, level: str, message: str) -> Document:
    return {"code": code, "level": level, "message": message}


def _storage(platform: Platform, workspace: Row, stores: list[Row]) -> Iterator[Document]:
    if not workspace.status.get("account"):
        yield _result(
            "StorageAccountMissing", "Error", f"The workspace has no storage account yet; it is {workspace.state}."
        )
        return
    for name in sorted(DEFAULTS - {one.name.lower() for one in stores}):
        yield _result(
            "DatastoreMissing", "Error", f"The datastore '{name}' is missing; PUT the workspace again to make it."
        )
    for store in stores:
        place = hosted_place(store)
        if place and not platform.blobs.has_container(*place):
            yield _result(
                "ContainerMissing",
                "Error",
                f"The container '{place[1]}' of datastore '{store.name}' is missing in the"
                f" storage account '{place[0]}'.",
            )


def _disk(platform: Platform) -> Iterator[Document]:
    free = platform.blobs.free_bytes()
    if free is not None and free < _LITTLE_BYTES:
        level = "Error" if free < _TOO_LITTLE_BYTES else "Warning"
        yield _result("DiskAlmostFull", level, f"{free / 1024**2:.0f} MiB are free on the platform's disk.")


def _mlflow(platform: Platform, workspace: Row) -> Iterator[Document]:
    try:
        platform.tracking.run_id(workspace.id, "diagnosis")
    except NotReady as error:
        yield _result("MlflowNotReady", "Warning", str(error))
        return
    if not _answers(str(platform.settings.mlflow_socket)):
        yield _result(
            "MlflowNotAnswering",
            "Error",
            "MLflow's server does not answer; the file mlflow.log of the platform says why.",
        )


def _answers(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_ANSWER_S)
            line.connect(path)
            line.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return line.recv(12).endswith(b" 200")
    except OSError:
        return False


def _gateway(platform: Platform, row: Row | None) -> Iterator[Document]:
    """Without a row there never was an endpoint."""
    if row is not None and not (row.state == "Succeeded" and platform.gateway.in_force(str(row.status.get("version")))):
        yield _result(
            "GatewayBehind", "Warning", "The gateway does not follow the endpoints' newest configuration yet."
        )
