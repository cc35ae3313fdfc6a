"""Long-running operations: one row each, written in the transaction of the PUT, DELETE or action that began it.

Clients ask for an operation while they wait for it, so those that ended long ago are forgotten: each new one removes a
few. What happened to a resource stays in the feed
(`store/changes.py`).
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from smalt.store.news import tell
from smalt.store.tables import operation

RUNNING, SUCCEEDED, FAILED = "InProgress", "Succeeded", "Failed"
KEPT_S = 7 * 24 * 3600.0
UNTIL_GONE = 2**31 - 1  # the generation of a delete's operation: it ends with the row, whatever is written meanwhile
_FORGOTTEN_AT_ONCE = 20  # more than one, so that what has piled up goes too


@dataclass(frozen=True)
class Operation:
    id: str
    resource_id: str
    action: str
    state: str
    error: dict[str, Any] | None
    created_at: float
    ended_at: float | None


def begin(connection: Connection, resource_id: str, action: str, generation: int, now: float) -> str:
    _forget(connection, now - KEPT_S)
    key = str(uuid.uuid4())
    connection.execute(
        operation.insert().values(
            id=key,
            resource_id=resource_id,
            action=action,
            state=RUNNING,
            error=None,
            generation=generation,
            created_at=now,
            ended_at=None,
        )
    )
    return key


def _forget(connection: Connection, before: float) -> None:
    old = select(operation.c.id).where(operation.c.ended_at < before).order_by(operation.c.ended_at)
    keys = connection.execute(old.limit(_FORGOTTEN_AT_ONCE)).scalars().all()
    if keys:
        connection.execute(delete(operation).where(operation.c.id.in_(keys)))


def get(connection: Connection, key: str) -> Operation | None:
    found = connection.execute(select(operation).where(operation.c.id == key)).first()
    if found is None:
        return None
    error = json.loads(found.error) if found.error else None
    return Operation(found.id, found.resource_id, found.action, found.state, error, found.created_at, found.ended_at)


def finish(connection: Connection, resource_id: str, upto: int, error: dict[str, Any] | None, now: float) -> None:
    """End the running operations of a resource, up to a generation; who waits for them is told."""
    query = update(operation).where(
        operation.c.resource_id == resource_id, operation.c.state == RUNNING, operation.c.generation <= upto
    )
    state = FAILED if error else SUCCEEDED
    ended = connection.execute(query.values(state=state, error=json.dumps(error) if error else None, ended_at=now))
    if ended.rowcount:
        tell(connection, resource_id)
