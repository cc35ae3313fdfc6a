"""Workspace connections: addresses of other services, with the credentials that open them.

A connection is only stored. What uses one: builds of environments, for package indexes (`feeds.py`), and whoever
asks for its secrets (`listSecrets`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from smalt.arm.envelope import document
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts, nearest
from smalt.kinds.assets.connection_categories import CATEGORIES, DATA_CATEGORIES, WITHOUT_TARGET
from smalt.kinds.assets.credentials import (
    CredentialType,
    check_complete,
    read_credentials,
    store_credentials,
    stored_credentials,
)
from smalt.store.resources import Row

CREDENTIALS: Mapping[str, CredentialType] = {
    "None": CredentialType(),
    "AAD": CredentialType(),
    "PAT": CredentialType(secret=("pat",)),
    "SAS": CredentialType(secret=("sas",)),
    "ApiKey": CredentialType(secret=("key",)),
    "AccountKey": CredentialType(secret=("key", "sas")),  # clients write the key as `sas`
    "AccessKey": CredentialType(secret=("accessKeyId", "secretAccessKey")),
    "UsernamePassword": CredentialType(secret=("username", "password", "securityToken")),
    "CustomKeys": CredentialType(secret=("keys",)),
    "ServicePrincipal": CredentialType(("clientId", "tenantId"), ("clientSecret",)),
    "ManagedIdentity": CredentialType(("clientId", "resourceId")),
    "OAuth2": CredentialType(
        ("authUrl", "clientId", "tenantId"), ("clientSecret", "developerToken", "password", "refreshToken", "username")
    ),
}
_FIELD = "properties.credentials"


class ConnectionProperties(Properties):
    auth_type: str
    category: str
    target: str | None = None
    credentials: dict[str, Any] | None = None
    metadata: Texts | None = None
    expiry_time: datetime | None = None
    is_shared_to_all: bool | None = None
    shared_user_list: list[str] | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    before = str(old.properties["authType"]) if old else ""
    properties["category"] = _category(properties["category"])
    credentials = read_credentials(CREDENTIALS, properties["authType"], properties.get("credentials"), _FIELD)
    properties["authType"] = credentials.type
    properties["credentials"] = credentials.shown or None
    _check_target(properties)
    moved = "target" if old and old.properties.get("target") != properties.get("target") else ""
    check_complete(CREDENTIALS, before, credentials, _FIELD, f"properties.{moved}" if moved else "")
    if isinstance(expires := properties.get("expiryTime"), datetime):
        aware = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        properties["expiryTime"] = aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
    properties.setdefault("isSharedToAll", True)
    spec = {**request.body, "properties": properties}

    def writes(connection: Connection) -> None:
        store_credentials(request.platform.secrets, connection, request.id.key, CREDENTIALS, before, credentials)

    return Admitted(spec, lookup=properties["category"], writes=writes)


def _category(given: str) -> str:
    """In the service's own spelling; clients write `pythonFeed`, and compare what they read to the letter."""
    known = {one.lower(): one for one in CATEGORIES}
    found = known.get(given.replace("_", "").lower())
    if found is None:
        hint = nearest(given, list(CATEGORIES))
        raise invalid(f"properties.category: '{given[:60]}' is no kind of connection.{hint}", "properties.category")
    return found


def _check_target(properties: Document) -> None:
    target = properties.get("target")
    if not target:
        if properties["category"] in WITHOUT_TARGET:
            return
        raise invalid(
            f"properties.target is missing: a connection of the category {properties['category']} has an address.",
            "properties.target",
        )
    try:
        parts = urlsplit(target)
        password = parts.password
    except ValueError:
        return  # not an address that a password could be in
    if password:
        raise invalid(
            "properties.target holds a password, which would be shown; give it in properties.credentials.",
            "properties.target",
        )
    if properties["category"] == "PythonFeed" and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise invalid(
            "properties.target: the address of a package index begins with https:// (or http://).", "properties.target"
        )


def _view(platform: Platform, row: Row) -> Document:
    workspace = ResourceId.parse(row.written).workspace
    return {"group": CATEGORIES[row.properties["category"]], "createdByWorkspaceArmId": str(workspace)}


def _secrets(request: Request, row: Row | None) -> tuple[int, Any]:
    """The connection with its credentials filled in."""
    assert row is not None
    with request.platform.database.read() as connection:
        stored = stored_credentials(request.platform.secrets, connection, row.id)
    body = document(request.platform, KIND, row)
    shown = row.properties.get("credentials") or {}
    body["properties"]["credentials"] = {**shown, **stored} or None
    return 200, body


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    """By category and target; connections to data only where they are asked for."""
    category, wanted = row.properties["category"], query.get("category", "").replace("_", "").lower()
    if wanted and wanted != category.lower():
        return False
    if query.get("target") and query["target"] != row.properties.get("target"):
        return False
    return bool(wanted) or category not in DATA_CATEGORIES or query.get("includeAll", "").lower() == "true"


KIND = Kind(
    path="workspaces/connections",
    title="connection",
    properties=ConnectionProperties,
    admit=_admit,
    view=_view,
    put_status=200,
    list_filter=_filter,
    actions={"listSecrets": Action(_secrets, gives_secrets=True)},
)
