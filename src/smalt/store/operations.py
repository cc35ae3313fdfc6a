"""Long-running operations: one row each, written in the transaction of the PUT, DELETE or action that began it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from smalt.store.tables import operation

RUNNING, SUCCEEDED, FAILED = "InProgress", "Succeeded", "Failed"


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


def get(connection: Connection, key: str) -> Operation | None:
    found = connection.execute(select(operation).where(operation.c.id == key)).first()
    if found is None:
        return None
    error = json.loads(found.error) if found.error else None
    return Operation(found.id, found.resource_id, found.action, found.state, error, found.created_at, found.ended_at)


def finish(
    connection: Connection, resource_id: str, upto: int, error: dict[str, Any] | None, now: float, action: str = ""
) -> None:
    """End the running operations of a resource, up to a generation; `action` limits it to one kind of operation."""
    query = update(operation).where(
        operation.c.resource_id == resource_id, operation.c.state == RUNNING, operation.c.generation <= upto
    )
    if action:
        query = query.where(operation.c.action == action)
    state = FAILED if error else SUCCEEDED
    connection.execute(query.values(state=state, error=json.dumps(error) if error else None, ended_at=now))


def running(connection: Connection, resource_id: str) -> bool:
    query = select(operation.c.id).where(operation.c.resource_id == resource_id, operation.c.state == RUNNING)
    return connection.execute(query.limit(1)).first() is not None
