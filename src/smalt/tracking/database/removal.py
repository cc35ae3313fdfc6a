"""All rows of a workspace, in every table that MLflow has: those that name it, and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, inspect, text

from smalt.store.quick import execute

_SET_NULL = "SET NULL"  # what would only lose its reference stays


@dataclass(frozen=True)
class _Reference:
    """A foreign key: `columns` of `table` name the row that has these values in its columns `to`."""

    table: str
    columns: list[str] = field(default_factory=list[str])
    to: list[str] = field(default_factory=list[str])


def remove_rows_of_workspace(connection: Connection, name: str) -> None:
    """`name` is MLflow's. What refers to a row goes before it, since PostgreSQL looks after each statement."""
    sqlite = connection.dialect.name == "sqlite"
    tables, references = _of_sqlite(connection) if sqlite else _of_postgresql(connection)
    for table in tables:
        _remove(connection, references, (table,), "workspace = :name", {"name": name})


def _remove(
    connection: Connection,
    references: Mapping[str, Sequence[_Reference]],
    path: Sequence[str],
    which: str,
    values: Mapping[str, str],
) -> None:
    """The rows of the path's last table for which `which` holds."""
    table = path[-1]
    for one in references.get(table, ()):
        if one.table not in path:
            below = f'({_quoted(one.columns)}) IN (SELECT {_quoted(one.to)} FROM "{table}" WHERE {which})'
            _remove(connection, references, (*path, one.table), below, values)
    connection.execute(text(f'DELETE FROM "{table}" WHERE {which}'), values)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{one}"' for one in columns)


def _of_postgresql(connection: Connection) -> tuple[list[str], dict[str, list[_Reference]]]:
    """The tables that name a workspace; and by the table that is referred to, what refers to it."""
    inspector, references = inspect(connection), dict[str, list[_Reference]]()
    for (_, table), keys in inspector.get_multi_foreign_keys().items():
        for key in keys:
            if key.get("options", {}).get("ondelete") != _SET_NULL:
                one = _Reference(table or "", key["constrained_columns"], key["referred_columns"])
                references.setdefault(key["referred_table"], []).append(one)
    columns = inspector.get_multi_columns().items()
    return [
        table or "" for (_, table), these in columns if any(one["name"] == "workspace" for one in these)
    ], references


def _of_sqlite(connection: Connection) -> tuple[list[str], dict[str, list[_Reference]]]:
    """The same in milliseconds: nobody else writes meanwhile."""
    found: dict[tuple[str, int], _Reference] = {}
    references: dict[str, list[_Reference]] = {}
    for table, number, column, referred, to in execute(
        connection,
        'SELECT m.name, f.id, f."from", f."table", f."to" FROM sqlite_master m, pragma_foreign_key_list(m.name) f '
        "WHERE m.type = 'table' AND f.on_delete != ? ORDER BY m.name, f.id, f.seq",
        (_SET_NULL,),
    ):
        if (table, number) not in found:
            found[table, number] = _Reference(table)
            references.setdefault(referred, []).append(found[table, number])
        found[table, number].columns.append(column)
        found[table, number].to.append(to)
    tables = execute(
        connection,
        "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' AND c.name = 'workspace'",
    )
    return [table for (table,) in tables], references
