"""Rows of no kind in particular, for tests of the store."""

from __future__ import annotations

from typing import Any

from smalt.store import resources
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


def read(database: Database, key: str) -> Row:
    with database.read() as connection:
        row = resources.get(connection, key)
    assert row is not None
    return row
