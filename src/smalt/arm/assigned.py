"""User-assigned identities: rows of a kind of their own, and what clusters that were given one know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import OURS, Document, Request
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

PROVIDER, TYPE = "Microsoft.ManagedIdentity", "userAssignedIdentities"
KEY = f"{PROVIDER}/{TYPE}".lower()
PRINCIPAL, CLIENT = "principalId", "clientId"
_ASSIGNED = "identities"  # in a spec's own part: key of the identity → its client id, when it was given


@dataclass(frozen=True)
class Assigned:
    """One that a cluster has, as clients name it. `key` is that of its row."""

    key: str
    name: str
    oid: str
    client_id: str


def assign(request: Request, connection: Connection, old: Row | None) -> Document:
    """What is kept of the identities that a resource names: those that there are, and that this caller may give away.

    One that there is not is written down by clients and gives nothing. Raises ArmError(403).
    """
    known: Mapping[str, Any] = part(part(old.spec, OURS), _ASSIGNED) if old is not None else {}
    found: dict[str, str] = {}
    for key, row in sorted(resources.get_many(connection, _named(request.body)).items()):
        if known.get(key) != row.status[CLIENT]:
            request.platform.grants.check(request.principal, f"{KEY}/assign/action", key)
        found[key] = row.status[CLIENT]
    return {_ASSIGNED: found} if found else {}


def assigned(connection: Connection, holder: Row) -> list[Assigned]:
    """Those that a resource was given, and that there still are; one that was made anew is another."""
    given: Mapping[str, Any] = part(part(holder.spec, OURS), _ASSIGNED)
    rows = resources.get_many(connection, given) if given else {}
    return [
        Assigned(key, row.name, row.status[PRINCIPAL], row.status[CLIENT])
        for key, row in sorted(rows.items())
        if row.status[CLIENT] == given[key] and not row.deleting
    ]


def shown(connection: Connection, holder: Row, document: Document) -> Document:
    """The ids of each that it has are in its document, as clients look for them there."""
    ids = {one.key: {PRINCIPAL: one.oid, CLIENT: one.client_id} for one in assigned(connection, holder)}
    if not ids:
        return document
    identity = part(document, "identity")
    named = {text: ids.get(_key(text), said) for text, said in part(identity, "userAssignedIdentities").items()}
    return {**document, "identity": {**identity, "userAssignedIdentities": named}}


def _named(spec: Mapping[str, Any]) -> list[str]:
    """Keys of the identities that `identity.userAssignedIdentities` says."""
    identity = part(spec, "identity")
    if "UserAssigned" not in str(identity.get("type")):
        return []
    return [key for text in part(identity, "userAssignedIdentities") if (key := _key(text))]


def _key(text: str) -> str:
    """Empty where it is not the id of such an identity."""
    try:
        id_ = ResourceId.parse(text)
    except NotAnId:
        return ""
    return id_.key if id_.kind == KEY else ""
