"""Statements that are sent so often that SQLAlchemy would show: on SQLite they go to the driver's own connection.

There a statement costs what SQLite takes, and not five times that. It is in the same transaction as all others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import BindParameter, Connection, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.visitors import iterate

_NAMED = sqlite.dialect(paramstyle="named")


def execute(
    connection: Connection, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """All rows of the answer. The connection is one to SQLite, in a transaction. Raises SQLAlchemy's errors."""
    try:
        return _driver(connection).execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, cast(Any, values), error, sqlite3.Error) from error


def batches(
    connection: Connection, statement: str, values: Sequence[Any], size: int
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows of the answer, `size` at a time, of which no more are in memory. `statement` is the dialect's own."""
    if connection.dialect.name != "sqlite":
        streamed = {"stream_results": True, "max_row_buffer": size}
        answer = connection.exec_driver_sql(statement, tuple(values), execution_options=streamed)
        yield from ([tuple(row) for row in rows] for rows in answer.partitions(size))
        return
    try:
        cursor = _driver(connection).execute(statement, values)
        while rows := cursor.fetchmany(size):
            yield rows
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, cast(Any, values), error, sqlite3.Error) from error


def execute_many(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Once for each of `rows`; how many rows of the table it wrote. As `execute` else."""
    try:
        return _driver(connection).executemany(statement, rows).rowcount
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, cast(Any, rows), error, sqlite3.Error) from error


class QuickSelect:
    """A select with named parameters, compiled once. On SQLite its values come as they are stored: flags as 0 and 1."""

    def __init__(self, query: Select[*tuple[Any, ...]]) -> None:
        self._query = query
        asked = [one.key for one in iterate(query) if isinstance(one, BindParameter) and one.required]
        expanded = query.compile(dialect=_NAMED).construct_expanded_state(dict.fromkeys(asked))
        self._text = expanded.statement
        self._constants = {name: value for name, value in expanded.parameters.items() if name not in asked}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """With the columns in the order in which they are selected."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._query, values).all()
        if not connection.in_transaction():
            connection.begin()
        return execute(connection, self._text, {**self._constants, **values})


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)
