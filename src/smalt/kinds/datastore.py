"""Datastores: names for containers. Secrets go to a table of their own and leave only through listSecrets.

An account below the platform's own storage suffix is *hosted*: its container lives in this platform's blob store, and
listSecrets hands out a SAS that works now, unless it was made without credentials. Anything else is somebody else's
storage and is only remembered.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties
from smalt.settings import STORAGE_SUFFIX
from smalt.store import resources
from smalt.store.resources import Row
from smalt.store.tables import account as accounts

_TYPES = {"AzureBlob", "AzureFile", "AzureDataLakeGen1", "AzureDataLakeGen2", "OneLake"}
DEFAULTS = {"workspaceblobstore", "workspaceartifactstore"}
SAS_HOURS = 24


class Credentials(Properties):
    credentials_type: str | None = None
    secrets: dict[str, Any] | None = None


class DatastoreProperties(Properties):
    datastore_type: str
    account_name: str | None = None
    container_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    is_default: bool | None = None
    credentials: Credentials | None = None
    tags: dict[str, str | None] | None = None


def hosted_account(properties: Document) -> str | None:
    """The account's plain name if this platform hosts it. Clients may send back `HOST:PORT/account`, as we show it."""
    name = str(properties.get("accountName") or "").rpartition("/")[2]
    suffix = properties.get("endpoint") or STORAGE_SUFFIX
    return name if properties.get("datastoreType") == "AzureBlob" and suffix == STORAGE_SUFFIX and name else None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if request.id.name.lower() in DEFAULTS and old is not None:
        raise invalid(f"'{old.name}' is the workspace's own datastore and cannot be changed.", "name")
    properties = dict(request.body["properties"])
    if properties["datastoreType"] not in _TYPES:
        known = ", ".join(sorted(_TYPES))
        raise invalid(
            f"properties.datastoreType: '{properties['datastoreType']}' is not one of {known}.",
            "properties.datastoreType",
        )
    if properties["datastoreType"] == "AzureBlob":
        for field in ("accountName", "containerName"):
            if not properties.get(field):
                raise invalid(f"properties.{field} is missing.", f"properties.{field}")
        _check_container(request.platform, properties["containerName"])
    credentials = dict(properties.get("credentials") or {"credentialsType": "None"})
    given = credentials.pop("secrets", None)
    properties["credentials"] = credentials
    hosted = hosted_account(properties)
    if hosted:
        properties["accountName"] = hosted
        properties.setdefault("endpoint", STORAGE_SUFFIX)
        properties.setdefault("protocol", "https")
        _check_owner(request, connection, hosted, given)

    def writes(connection: Connection) -> None:
        if given is not None:
            resources.set_secret(connection, request.id.key, "credentials", json.dumps(given))
        if hosted:
            _note_owner(connection, request, hosted)

    spec = {**request.body, "properties": properties}
    return Admitted(spec, status={"hosted": bool(hosted)}, due=bool(hosted), writes=writes)


def _check_container(platform: Platform, name: str) -> None:
    """Raises ArmError(400) for what can be no container of any account."""
    try:
        platform.blobs.path("anyaccount", name)
    except ArmError as error:
        raise invalid(f"properties.containerName: {error.message}", "properties.containerName") from None


def _check_owner(request: Request, connection: Connection, name: str, given: Any) -> None:
    """An account that exists already opens only to its own workspace or to its key: a name alone is no right."""
    found = connection.execute(select(accounts).where(accounts.c.name == name)).first()
    if found is None:
        if not (3 <= len(name) <= 24 and name.isascii() and name.isalnum() and name == name.lower()):
            raise invalid(
                "A storage account's name has 3 to 24 lower-case letters and digits.", "properties.accountName"
            )
        return
    workspace = resources.get(connection, request.id.parent.key)
    if workspace is not None and name in (workspace.status.get("account"), *workspace.status.get("accounts", ())):
        return
    mine = resources.get(connection, request.id.key)
    if mine is not None and mine.properties.get("accountName") == name:
        return
    key = str((given or {}).get("key") or "").encode()
    if not any(hmac.compare_digest(key, known.encode()) for known in (found.key1, found.key2)):
        raise ArmError(
            403, "AuthorizationFailed", f"Storage account '{name}' exists; its key is needed to use it.",
            "properties.credentials",
        )  # fmt: skip


def _note_owner(connection: Connection, request: Request, name: str) -> None:
    """The account is the workspace's from now on, also for its other datastores and after this one is deleted."""
    workspace = resources.get(connection, request.id.parent.key)
    if workspace is None or name == workspace.status.get("account"):
        return
    owned = {*workspace.status.get("accounts", ()), name}
    resources.set_status(connection, workspace.id, {**workspace.status, "accounts": sorted(owned)})


def _reconcile(platform: Platform, row: Row) -> Step:
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    account = hosted_account(row.properties)
    if account:
        platform.blobs.ensure_account(account)
        platform.blobs.ensure_container(account, row.properties["containerName"])
    return Step("Succeeded", row.status, done=True)


def _view(platform: Platform, row: Row) -> Document:
    if not hosted_account(row.properties):
        return {}
    settings = platform.settings
    id_ = ResourceId.parse(row.written)
    return {
        # without DNS for {account}.blob.{suffix}: the client writes https://{accountName}.blob.{endpoint}/…
        "accountName": f"{settings.host}:{settings.port}/{hosted_account(row.properties)}",
        "credentials": {"credentialsType": "Sas" if _has_credentials(row) else "None"},
        "isDefault": bool(row.properties.get("isDefault")),
        "subscriptionId": id_.subscription,
        "resourceGroup": id_.group,
    }


def _has_credentials(row: Row) -> bool:
    """Without them the datastore opens to each user's own identity: clients then send their tokens."""
    return (row.properties.get("credentials") or {}).get("credentialsType") not in (None, "None")


def _secrets(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    account = hosted_account(row.properties)
    if account and _has_credentials(row):
        hours = request.body.get("expireAfterHours")
        lifetime = 3600.0 * (hours if isinstance(hours, int | float) and 0 < hours <= 24 * 7 else SAS_HOURS)
        token = request.platform.blobs.sas(account, "rwdlac", lifetime, container=row.properties["containerName"])
        return 200, {"secretsType": "Sas", "sasToken": token}
    with request.platform.database.read() as connection:
        stored = resources.secrets_of(connection, row.id).get("credentials")
    if stored is None:
        return 200, {"secretsType": "None"}
    return 200, json.loads(stored)


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    if row.name.lower() in DEFAULTS:
        raise invalid(f"'{row.name}' is the workspace's own datastore and cannot be deleted.", "name")


def _filter(row: Row, query: Any) -> bool:
    return query.get("isDefault", "").lower() != "true" or bool(row.properties.get("isDefault"))


KIND = Kind(
    path="workspaces/datastores",
    title="datastore",
    properties=DatastoreProperties,
    admit=_admit,
    reconcile=_reconcile,
    view=_view,
    check_delete=_check_delete,
    list_filter=_filter,
    actions={"listSecrets": Action(_secrets)},
    delete_at_once=True,
)
