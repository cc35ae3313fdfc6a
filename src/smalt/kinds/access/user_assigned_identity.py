"""`…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}`: whom a job may be besides itself.

A cluster is given one (`arm/assigned.py`), and a job there that names it gets tokens as it, for its workspace and while
it runs (`kinds/jobs/identity.py`).

https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities (2018-11-30 and later)
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, delete, insert

from smalt.arm.assigned import CLIENT, PRINCIPAL, PROVIDER, TYPE
from smalt.arm.kind import Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import ASSIGNED_IDENTITY
from smalt.arm.validation import Properties
from smalt.auth import living
from smalt.settings import TENANT
from smalt.store.row import Row
from smalt.store.tables import identity


class IdentityProperties(Properties):
    """Nothing that a client says."""


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if old is not None:
        return Admitted(request.body)
    oid, client_id = str(uuid.uuid4()), str(uuid.uuid4())

    def writes(connection: Connection) -> None:
        row = {
            "oid": oid,
            "kind": ASSIGNED_IDENTITY,
            "name": request.id.name,
            "client_id": client_id,
            "scope": request.id.parent.key,
            "federation": "[]",
            "created_at": request.now,
        }
        connection.execute(insert(identity).values(**row))

    return Admitted(request.body, status={PRINCIPAL: oid, CLIENT: client_id}, writes=writes)


def _view(platform: Platform, row: Row) -> Document:
    return {"tenantId": TENANT, PRINCIPAL: row.status[PRINCIPAL], CLIENT: row.status[CLIENT]}


def _deleted(connection: Connection, row: Row, now: float) -> None:
    """Its tokens open nothing within a second."""
    living.end(connection, row.status[PRINCIPAL], now)
    connection.execute(delete(identity).where(identity.c.oid == row.status[PRINCIPAL]))


KIND = Kind(
    path=TYPE,
    title="user-assigned identity",
    provider=PROVIDER,
    tracked=True,
    properties=IdentityProperties,
    admit=_admit,
    view=_view,
    deleted=_deleted,
    name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]{2,127}$",
)
