"""Rows as they lie in the store, beside what writes them: of no kind in particular, and of resources."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.store import claims, resources
from smalt.store.database import Database
from smalt.store.resources import Row


def insert(database: Database, key: str, **more: Any) -> None:
    values: dict[str, Any] = {
        "key": key,
        "written": key,
        "kind": "things",
        "parent": "/w",
        "name": key,
        "spec": {"properties": {}},
        "status": {},
        "state": "New",
        "now": 1.0,
        "by": "ada",
        **more,
    }
    with database.write() as connection:
        resources.insert(connection, **values)


def put(connection: Connection, written: str, **more: Any) -> None:
    """The resource of this id, as if it had been made."""
    id_ = ResourceId.parse(written)
    values: dict[str, Any] = {
        "key": id_.key,
        "written": written,
        "kind": id_.kind,
        "parent": id_.parent.key,
        "name": id_.name,
        "spec": {"properties": {}},
        "status": {},
        "state": "Succeeded",
        "now": 1.0,
        "by": "test",
        **more,
    }
    resources.insert(connection, **values)


def apply(database: Database, row: Row, status: dict[str, Any], **more: Any) -> bool:
    """A step that ends it."""
    values: dict[str, Any] = {
        "state": "Done",
        "due_at": None,
        "failures": 0,
        "now": 50.0,
        "reason": "",
        "ended": True,
        **more,
    }
    with database.write() as connection:
        return claims.apply(connection, row, status=status, **values)


def read(database: Database, key: str) -> Row:
    with database.read() as connection:
        row = resources.get(connection, key)
    assert row is not None
    return row
