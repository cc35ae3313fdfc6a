"""Datastores: names for containers. Secrets go to a table of their own and leave only through listSecrets.

An account below the platform's own storage suffix is *hosted*: its container lives in this platform's blob store, and
listSecrets hands out a SAS that works now, unless it was made without credentials. The two file shares that each
workspace has are hosted, too: a share is a container. Anything else is somebody else's storage and is only remembered.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.listing import named
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts
from smalt.kinds.assets.credentials import (
    Credentials,
    CredentialType,
    check_complete,
    read_credentials,
    store_credentials,
    stored_credentials,
)
from smalt.kinds.assets.lifetimes import signature_hours
from smalt.settings import STORAGE_SUFFIX
from smalt.store import resources
from smalt.store.resources import Lock, Row

_TYPES = {"AzureBlob", "AzureFile", "AzureDataLakeGen1", "AzureDataLakeGen2", "OneLake"}
_OF_UPLOADS = {"workspaceblobstore", "workspaceartifactstore"}
DEFAULTS = {*_OF_UPLOADS, "workspacefilestore", "workspaceworkingdirectory"}
_SHARE = "AzureFile"
_TENANT = ("authorityUrl", "resourceUrl", "tenantId", "clientId")
_KERBEROS = ("kerberosKdcAddress", "kerberosPrincipal", "kerberosRealm")
CREDENTIALS: Mapping[str, CredentialType] = {
    "None": CredentialType(),
    "AccountKey": CredentialType(secret=("key",)),
    "Sas": CredentialType(secret=("sasToken",)),
    "ServicePrincipal": CredentialType(_TENANT, ("clientSecret",)),
    "Certificate": CredentialType((*_TENANT, "thumbprint"), ("certificate",)),
    "KerberosKeytab": CredentialType(_KERBEROS, ("kerberosKeytab",)),
    "KerberosPassword": CredentialType(_KERBEROS, ("kerberosPassword",)),
}
_FIELD = "properties.credentials"


class DatastoreProperties(Properties):
    datastore_type: str
    account_name: str | None = None
    container_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    is_default: bool | None = None
    credentials: dict[str, Any] | None = None
    tags: Texts | None = None


def hosted_account(properties: Document) -> str | None:
    """The account's plain name if this platform hosts it. Clients may send back `HOST:PORT/account`, as we show it."""
    name = str(properties.get("accountName") or "").rpartition("/")[2]
    suffix = properties.get("endpoint") or STORAGE_SUFFIX
    return name if properties.get("datastoreType") == "AzureBlob" and suffix == STORAGE_SUFFIX and name else None


def work_share(workspace_id: str) -> str:
    """The files that all compute instances of a workspace share: what `workspaceworkingdirectory` is."""
    return f"code-{workspace_id}"


def hosted_place(row: Row) -> tuple[str, str] | None:
    """The account and the container that a datastore is, if this platform hosts it.

    Of file shares it hosts those alone that it made itself, which their status tells: of others nobody has checked
    whose account they name.
    """
    properties = row.properties
    if properties.get("datastoreType") == _SHARE:
        hosted = row.status.get("hosted")
        return (str(properties["accountName"]), str(properties["fileShareName"])) if hosted else None
    account = hosted_account(properties)
    return (account, str(properties["containerName"])) if account else None


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
        _check_container(request.platform, properties)
    before = _credentials_of(old)
    credentials = _read(request, before, properties.get("credentials"))
    properties["credentials"] = {"credentialsType": credentials.type, **credentials.shown}
    hosted = hosted_account(properties)
    if hosted:
        properties["accountName"] = hosted
        properties.setdefault("endpoint", STORAGE_SUFFIX)
        properties.setdefault("protocol", "https")
        _check_owner(request, connection, hosted, credentials.secrets)
    else:
        moved = next((name for name in ("accountName", "endpoint") if old and _moved(old, properties, name)), "")
        check_complete(CREDENTIALS, before["credentialsType"] if old else "", credentials, f"{_FIELD}.secrets", moved)

    def writes(connection: Connection) -> None:
        secrets, type_ = request.platform.secrets, before["credentialsType"] if old else ""
        store_credentials(secrets, connection, request.id.key, CREDENTIALS, type_, credentials)
        if hosted:
            _note_owner(connection, request, hosted)

    spec = {**request.body, "properties": properties}
    return Admitted(spec, status={"hosted": bool(hosted)}, due=bool(hosted), writes=writes)


def _credentials_of(row: Row | None) -> Document:
    found = row.properties.get("credentials") if row else None
    return {"credentialsType": "None", **(found or {})}


def _read(request: Request, before: Document, given: Document | None) -> Credentials:
    """What the request says of credentials.

    A PUT that says nothing leaves them, a PATCH that takes them away means none.
    """
    if given is None:
        given = {"credentialsType": "None"} if request.patched else before
    secrets = given.get("secrets")
    if secrets is not None and not isinstance(secrets, dict):
        raise invalid(f"{_FIELD}.secrets: this must be an object.", f"{_FIELD}.secrets")
    type_ = given.get("credentialsType") or "None"
    if isinstance(secrets, dict) and str(secrets.get("secretsType") or type_).lower() != str(type_).lower():
        raise invalid(
            f"{_FIELD}.secrets.secretsType: this must be the credentials' type.", f"{_FIELD}.secrets.secretsType"
        )
    kind = read_credentials(CREDENTIALS, type_, given, _FIELD)
    sealed = read_credentials(CREDENTIALS, type_, secrets, f"{_FIELD}.secrets")
    return Credentials(kind.type, kind.shown, sealed.secrets)


def _moved(old: Row, properties: Document, name: str) -> bool:
    before, now = old.properties.get(name), properties.get(name)
    return bool(before and now and before != now)


def _check_container(platform: Platform, properties: Document) -> None:
    """Raises ArmError(400) for what can be no container here, or of anybody else's account."""
    field, name = "properties.containerName", str(properties["containerName"])
    if name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise invalid(f"{field}: '{name[:80]}' cannot be the name of a container.", field)
    if hosted_account(properties):
        try:
            platform.blobs.check("anyaccount", name)
        except ArmError as error:
            raise invalid(f"{field}: {error.message}", field) from None


def _check_owner(request: Request, connection: Connection, name: str, given: Document) -> None:
    """An account that exists already opens only to its own workspace or to its key: a name alone is no right."""
    keys = request.platform.account_keys.of(name)
    if keys is None:
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
    key = str(given.get("key") or "").encode()
    if not any(hmac.compare_digest(key, known.value.encode()) for known in keys):
        raise ArmError(
            403,
            "AuthorizationFailed",
            f"Storage account '{name}' exists; its key is needed to use it.",
            "properties.credentials",
        )


def _note_owner(connection: Connection, request: Request, name: str) -> None:
    """The account is the workspace's from now on, also for its other datastores and after this one is deleted."""
    workspace = resources.get(connection, request.id.parent.key, Lock.WRITE)
    if workspace is None or name == workspace.status.get("account"):
        return
    owned = {*workspace.status.get("accounts", ()), name}
    resources.merge_status(connection, workspace.id, {"accounts": sorted(owned)})


def _reconcile(platform: Platform, row: Row) -> Step:
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    if place := hosted_place(row):
        platform.blobs.ensure_account(place[0])
        platform.blobs.ensure_container(*place)
    return Step("Succeeded", row.status, done=True)


def _view(platform: Platform, row: Row) -> Document:
    place = hosted_place(row)
    if place is None:
        return {}
    settings = platform.settings
    id_ = ResourceId.parse(row.written)
    return {
        # without DNS for {account}.blob.{suffix}: the client writes https://{accountName}.blob.{endpoint}/…
        "accountName": f"{settings.host}:{settings.port}/{place[0]}",
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
    place = hosted_place(row)
    if place and _has_credentials(row):
        lifetime = 3600.0 * signature_hours(request.principal, request.body.get("expireAfterHours"))
        # A workspace's own blobs: clients use it for the containers of uploads too. Others open their container alone.
        container = "" if row.name.lower() in _OF_UPLOADS else place[1]
        token = request.platform.blobs.sas(place[0], "rwdlac", lifetime, container=container)
        return 200, {"secretsType": "Sas", "sasToken": token}
    with request.platform.database.read() as connection:
        stored = stored_credentials(request.platform.secrets, connection, row.id)
    if not stored:
        return 200, {"secretsType": "None"}
    return 200, {**stored, "secretsType": _credentials_of(row)["credentialsType"]}


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    if row.name.lower() in DEFAULTS:
        raise invalid(f"'{row.name}' is the workspace's own datastore and cannot be deleted.", "name")


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    if query.get("isDefault", "").lower() == "true" and not row.properties.get("isDefault"):
        return False
    return named(row.name, query.get("names")) and query.get("searchText", "").lower() in row.name.lower()


KIND = Kind(
    path="workspaces/datastores",
    title="datastore",
    properties=DatastoreProperties,
    admit=_admit,
    reconcile=_reconcile,
    view=_view,
    check_delete=_check_delete,
    list_filter=_filter,
    actions={"listSecrets": Action(_secrets, gives_secrets=True)},
    delete_at_once=True,
)
