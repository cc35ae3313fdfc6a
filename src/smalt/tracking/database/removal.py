"""All rows of a workspace, in every table that MLflow has: those that name it, and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, inspect, text

Keys = Mapping[str, Sequence[Mapping[str, Any]]]  # by the table that is referred to: who refers to it, and how


def remove_rows_of_workspace(connection: Connection, name: str) -> None:
    """`name` is MLflow's. What refers to a row goes before it, since PostgreSQL looks after each statement."""
    inspector = inspect(connection)
    keys: dict[str, list[Mapping[str, Any]]] = {}
    for (_, table), found in inspector.get_multi_foreign_keys().items():
        for key in found:
            keys.setdefault(key["referred_table"], []).append({**key, "table": table})
    for (_, table), columns in inspector.get_multi_columns().items():
        if any(column["name"] == "workspace" for column in columns):
            _remove(connection, keys, (table,), "workspace = :name", {"name": name})


def _remove(connection: Connection, keys: Keys, path: Sequence[str], which: str, values: Mapping[str, str]) -> None:
    """The rows of the path's last table for which `which` holds. What would only lose its reference stays."""
    table = path[-1]
    for key in keys.get(table, ()):
        if key["table"] in path or key["options"].get("ondelete") == "SET NULL":
            continue
        own, referred = _quoted(key["constrained_columns"]), _quoted(key["referred_columns"])
        below = f'({own}) IN (SELECT {referred} FROM "{table}" WHERE {which})'
        _remove(connection, keys, (*path, key["table"]), below, values)
    connection.execute(text(f'DELETE FROM "{table}" WHERE {which}'), values)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{one}"' for one in columns)
