"""Workspaces: the unit of isolation.

Each has a storage account and other resources beside it (`supporting.py`), four datastores, curated environments and a
tracking server. `begin_create` of the SDK sends an ARM template deployment instead of a PUT: see `template.py`.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import invalid, not_found
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.listing import named
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.kinds.assets.datastore import work_share
from smalt.kinds.assets.shipped import properties_of
from smalt.kinds.workspaces import supporting
from smalt.kinds.workspaces.diagnosis import diagnose
from smalt.kinds.workspaces.encryption import check_encryption, shown_encryption
from smalt.kinds.workspaces.storage_account import shown_keys
from smalt.sched import quotas, turns
from smalt.settings import ARTIFACT_CONTAINER, REGION, STORAGE_SUFFIX, TENANT
from smalt.store import resources
from smalt.store.resources import Row

BLOB_STORE, ARTIFACT_STORE = "workspaceblobstore", "workspaceartifactstore"
FILE_STORE, WORK_STORE = "workspacefilestore", "workspaceworkingdirectory"  # file shares; the second: of instances


class WorkspaceProperties(Properties):
    description: str | None = None
    friendly_name: str | None = None
    public_network_access: str | None = None
    hbi_workspace: bool | None = None
    storage_account: str | None = None
    key_vault: str | None = None
    container_registry: str | None = None
    application_insights: str | None = None


def account_of(workspace: Row) -> str:
    """The workspace's storage account."""
    return str(workspace.status.get("account", ""))


def check_kind(kind: Any, field: str) -> None:
    """Hubs, projects and feature stores are workspaces to ARM, and more than this platform has."""
    if str(kind or "Default").lower() != "default":
        raise invalid(
            f"{field}: workspaces of the kind '{kind}' cannot be had here; leave the kind out for a plain workspace.",
            field,
        )


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    spec = dict(request.body)
    check_kind(spec.get("kind"), "kind")
    check_encryption(spec["properties"], old, "properties.encryption")
    spec["location"] = spec.get("location") or REGION
    spec["identity"] = {"type": "SystemAssigned", **(spec.get("identity") or {})}
    properties = spec["properties"] = dict(spec["properties"])
    supporting.accept(request, connection, old, properties)

    def writes(connection: Connection) -> None:
        supporting.claim_account(connection, request.id, properties, request.now, request.principal.name)

    state = "Succeeded" if old and old.state == "Succeeded" else "Creating"
    return Admitted(spec, state=state, due=True, writes=writes)


def _reconcile(platform: Platform, row: Row) -> Step:
    status = dict(row.status)
    if row.deleting:
        return _delete(platform, row)
    if "workspaceId" not in status:  # the intent first: the account's name must survive a crash
        key = str(uuid.uuid4())
        account = supporting.account_given(row.properties) or "smalt" + key.replace("-", "")[:16]
        status.update(workspaceId=key, account=account)
        return Step(row.state, status, after=0)
    account = status["account"]
    platform.blobs.ensure_account(account)
    for container in _containers(status["workspaceId"]).values():
        platform.blobs.ensure_container(account, container)
    now = platform.clock()

    def writes(connection: Connection) -> None:
        supporting.ensure(connection, row, account, now)
        _default_datastores(platform, connection, row, status, now)
        _curated_environments(platform, connection, row, now)

    return Step("Succeeded", status, done=True, writes=writes)


def blob_container(workspace_id: str) -> str:
    return f"azureml-blobstore-{workspace_id}"


def _containers(workspace_id: str) -> dict[str, str]:
    """What each of a workspace's own datastores is, by its name."""
    return {
        BLOB_STORE: blob_container(workspace_id),
        ARTIFACT_STORE: ARTIFACT_CONTAINER,
        FILE_STORE: f"azureml-filestore-{workspace_id}",
        WORK_STORE: work_share(workspace_id),
    }


def _delete(platform: Platform, row: Row) -> Step:
    account = account_of(row)
    if account and not supporting.account_given(row.properties):  # nor those of datastores: their data is the user's
        platform.blobs.remove(account)
    platform.tracking.remove_workspace(row.id)
    with platform.database.write() as connection:
        quotas.forget(connection, row.id)
        turns.forget(connection, row.id)
    return Step(row.state, row.status, gone=True)


def _default_datastores(platform: Platform, connection: Connection, row: Row, status: Document, now: float) -> None:
    id_ = ResourceId.parse(row.written)
    for name, container in _containers(status["workspaceId"]).items():
        share = name in (FILE_STORE, WORK_STORE)
        properties = {
            "datastoreType": "AzureFile" if share else "AzureBlob",
            "accountName": status["account"],
            "fileShareName" if share else "containerName": container,
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            "isDefault": name == BLOB_STORE,
            "serviceDataAccessAuthIdentity": "None",
            "credentials": {"credentialsType": "Sas"},
        }
        _insert(connection, id_.child("datastores", name), {"properties": properties}, {"hosted": True}, now)


def _curated_environments(platform: Platform, connection: Connection, row: Row, now: float) -> None:
    id_ = ResourceId.parse(row.written)
    for name, definition in platform.environments.curated().items():
        container = id_.child("environments", name)
        version = str(definition["version"])
        status = {"latest": version, "next": int(version) + 1 if version.isdigit() else 1}
        _insert(connection, container, {"properties": {}}, status, now)
        if _insert(
            connection, container.child("versions", version), {"properties": properties_of(definition)}, {}, now
        ):
            resources.merge_status(connection, container.key, status)


def _insert(connection: Connection, id_: ResourceId, spec: Document, status: Document, now: float) -> bool:
    """Whether it was missing."""
    if resources.get(connection, id_.key) is not None:
        return False
    resources.insert(
        connection,
        key=id_.key,
        written=str(id_),
        kind=id_.kind,
        parent=id_.parent.key,
        name=id_.name,
        spec=spec,
        status=status,
        state="Succeeded",
        now=now,
        by="smalt",
    )
    return True


def _view(platform: Platform, row: Row) -> Document:
    settings = platform.settings
    return {
        "workspaceId": row.status.get("workspaceId", ""),
        "friendlyName": row.properties.get("friendlyName") or row.name,
        "description": row.properties.get("description") or "",
        "discoveryUrl": f"{settings.url}/discovery",
        "mlFlowTrackingUri": f"azureml://{settings.host}:{settings.port}/mlflow/v1.0{row.written}",
        **supporting.shown(row),
        **shown_encryption(row.properties),
        "tenantId": TENANT,
        "publicNetworkAccess": row.properties.get("publicNetworkAccess") or "Enabled",
    }


def _list_keys(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    if not account_of(row):
        raise not_found("The storage account of workspace", row.name)
    return 200, {
        "userStorageKey": request.platform.blobs.ensure_account(account_of(row)),
        "userStorageResourceId": _view(request.platform, row)["storageAccount"],
        "appInsightsInstrumentationKey": "",
        "containerRegistryCredentials": None,
        "notebookAccessKeys": None,
    }


def _storage_keys(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    keys = shown_keys(request.platform, account_of(row))
    return 200, {"userStorageKey": keys[0]["value"], "keys": keys}


def _resync(request: Request, row: Row | None) -> tuple[int, Any]:
    """The keys are read where they are at each use, so they are never out of step."""
    return 200, None


KIND = Kind(
    path="workspaces",
    title="workspace",
    tracked=True,
    properties=WorkspaceProperties,
    reconcile=_reconcile,
    view=_view,
    admit=_admit,
    check_delete=supporting.check_delete,
    deleted=supporting.remove,
    list_filter=lambda row, query: named(row.spec.get("kind") or "Default", query.get("kind")),
    actions={
        "listKeys": Action(_list_keys, gives_secrets=True),
        "listStorageAccountKeys": Action(_storage_keys, gives_secrets=True),
        "resyncKeys": Action(_resync),
        "diagnose": Action(diagnose),
    },
    long_running=True,
    put_status=202,
    name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]{2,32}$",
)
