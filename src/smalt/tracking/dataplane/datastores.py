"""The routes that `azureml-fsspec`, `mltable` and azureml-dataprep use beside ARM: where blobs are, what opens them.

    GET  /datastore/v1.0{WS}/datastores[/NAME]                    one: with a SAS for its container, for a day
    GET  /data/v1.0{WS}/dataversion/NAME/versions/VERSION         a data asset's type and address
    POST /data/v1.0{WS}/dataversion/getByAssetId                  the same, for {"value": an id}

Source: the requests of azureml-dataprep-rslex 2.26 and mltable 1.7. Blobs come through the Blob protocol
(`blob/protocol/account_listing.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from smalt.arm.audit import known
from smalt.arm.envelope import etag, timestamp
from smalt.arm.errors import forbidden, invalid, not_found
from smalt.arm.ids import ML, ResourceId, workspace_id
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.router import Authenticate, Authorize, guarded, read_json
from smalt.arm.threads import Threads
from smalt.settings import STORAGE_SUFFIX
from smalt.store import pages, resources
from smalt.store.resources import Row
from smalt.tracking.address import long_form

SAS_S = 24 * 3600.0
THREADS = 16
_LISTED_MOST = 1000
_WORKSPACE = r"/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/[^/]+/workspaces/([^/]+)"
_DATASTORES = re.compile(rf"/datastore/v1\.0{_WORKSPACE}/datastores(?:/([^/]+))?/?", re.IGNORECASE)
_VERSION = re.compile(rf"/data/v1\.0{_WORKSPACE}/dataversion/([^/]+)/versions/([^/]+)/?", re.IGNORECASE)
_BY_ID = re.compile(rf"/data/v1\.0{_WORKSPACE}/dataversion/getByAssetId/?", re.IGNORECASE)
_ASSET_ID = re.compile(r".*/data/([^/]+)/versions/([^/]+)/?", re.IGNORECASE)
_TYPES = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}  # as this service spells them


Permits = Callable[[Principal, str, str], bool]


class DatastoreApp:
    """An ASGI app for the paths that `handles` knows.

    `permits(principal, account, method)`: may a bearer token do that to blobs?
    """

    def __init__(self, platform: Platform, authenticate: Authenticate, authorize: Authorize, permits: Permits) -> None:
        self._platform = platform
        self._authenticate = authenticate
        self._authorize = authorize
        self._permits = permits
        self._threads = Threads(THREADS)

    @staticmethod
    def handles(path: str) -> bool:
        return any(pattern.fullmatch(path) for pattern in (_DATASTORES, _VERSION, _BY_ID))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await guarded(self._answer, HttpRequest(scope, receive), self._platform.audit)
        await response(scope, receive, send)

    async def _answer(self, http: HttpRequest) -> Response:
        path, principal = http.scope["path"], known(self._authenticate(http.scope))
        if found := _DATASTORES.fullmatch(path):
            *names, name = found.groups()
            workspace = workspace_id(*names)
            await self._threads.run(self._authorize, principal, f"{ML}/workspaces/datastores/read", workspace.key)
            if name:
                return JSONResponse(await self._threads.run(self._datastore, principal, workspace, name))
            return JSONResponse(await self._threads.run(self._datastores, workspace))
        if found := _VERSION.fullmatch(path):
            *names, name, version = found.groups()
        else:
            names = _matched(_BY_ID, path)
            name, version = _named((await read_json(http)).get("value"))
        workspace = workspace_id(*names)
        await self._threads.run(self._authorize, principal, f"{ML}/workspaces/data/versions/read", workspace.key)
        return JSONResponse(await self._threads.run(self._version, workspace, name, version))

    def _datastores(self, workspace: ResourceId) -> dict[str, Any]:
        with self._platform.database.read() as connection:
            rows = pages.page(connection, "workspaces/datastores", workspace.key, most=_LISTED_MOST).rows
        return {"value": [_described(row) for row in rows]}

    def _datastore(self, principal: Principal, workspace: ResourceId, name: str) -> dict[str, Any]:
        """Raises ArmError: 404, 403, and 400 for storage outside of this platform."""
        with self._platform.database.read() as connection:
            row = resources.get(connection, workspace.child("datastores", name).key)
        if row is None:
            raise not_found("Datastore", name)
        if not row.status.get("hosted"):
            raise invalid(
                f"Datastore '{name}' is storage outside of this platform ({row.properties.get('datastoreType')}),"
                " which cannot be read through it; copy the data into a blob datastore of this platform.",
                "datastores",
            )
        # a file share of the platform's own is a container, and said to be one: its files come as blobs
        settings, properties = self._platform.settings, row.properties
        account, container = (
            str(properties["accountName"]),
            properties.get("containerName") or properties["fileShareName"],
        )
        letters = self._allowed(principal, workspace, row)
        section = {
            # without DNS for {account}.blob.{suffix}: the client writes https://{accountName}.blob.{endpoint}/…
            "accountName": f"{settings.host}:{settings.port}/{account}",
            "containerName": container,
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            "credentialType": "Sas",
            "credential": self._platform.blobs.sas(account, letters, SAS_S, container=container),
            "isSas": True,
            "serviceDataAccessAuthIdentity": "None",
            "subscriptionId": workspace.subscription,
            "resourceGroup": workspace.group,
        }
        self._platform.audit.secret_read(workspace.child("datastores", row.name), "datastore")
        return {**_described(row), "dataStoreType": "AzureBlob", "azureStorageSection": section}

    def _allowed(self, principal: Principal, workspace: ResourceId, row: Row) -> str:
        """What the SAS may do: all that listSecrets would hand out, or what the principal's own token opens.

        Raises ArmError(403).
        """
        account = str(row.properties["accountName"])
        if self._permits(principal, account, "PUT"):
            return "rwdlac"
        if self._permits(principal, account, "GET"):
            return "rl"
        if (row.properties.get("credentials") or {}).get("credentialsType") in (None, "None"):
            raise forbidden(
                f"Datastore '{row.name}' opens to each user's own identity, and yours may not read it.", row.name
            )
        self._authorize(principal, f"{ML}/workspaces/datastores/listSecrets/action", workspace.key)
        return "rwdlac"

    def _version(self, workspace: ResourceId, name: str, version: str) -> dict[str, Any]:
        id_ = workspace.child("data", name).child("versions", version)
        with self._platform.database.read() as connection:
            row = resources.get(connection, id_.key)
        if row is None:
            raise not_found("Data version", f"{name}:{version}")
        properties = row.properties
        about = {"description": properties.get("description"), "tags": properties.get("tags") or {}}
        return {
            "isV2": True,
            "dataVersion": {
                "assetId": row.written,
                "dataContainerName": name,
                "dataType": _TYPES[properties.get("dataType") or "uri_folder"],
                "dataUri": long_form(workspace, str(properties["dataUri"])),
                "versionId": row.name,
                "mutableProps": {"dataExpiryTime": None, **about, "isArchived": row.archived},
                "referencedDataUris": properties.get("referencedUris"),
                "properties": properties.get("properties") or {},
                "initialAssetId": row.written,
                "isRegistered": not properties.get("isAnonymous"),
            },
            "entityMetadata": {
                "etag": etag(row),
                "createdTime": timestamp(row.created_at),
                "modifiedTime": timestamp(row.changed_at),
                "createdBy": {"userName": row.created_by},
                "modifiedBy": {"userName": row.changed_by},
            },
        }


def _described(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "dataStoreType": row.properties.get("datastoreType"),
        "hasBeenValidated": True,
        "tags": row.properties.get("tags") or {},
        "isDefault": bool(row.properties.get("isDefault")),
        "createdTime": timestamp(row.created_at),
        "modifiedTime": timestamp(row.changed_at),
    }


def _matched(pattern: re.Pattern[str], path: str) -> tuple[str, ...]:
    found = pattern.fullmatch(path)
    assert found is not None, "`handles` let it through"
    return found.groups()


def _named(asset: Any) -> tuple[str, str]:
    found = _ASSET_ID.fullmatch(asset) if isinstance(asset, str) else None
    if found is None:
        raise invalid('The body must be {"value": the id of a data version}.', "value")
    return found[1], found[2]
