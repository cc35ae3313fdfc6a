"""INSERT with ON CONFLICT, which SQLAlchemy has for each database apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

Insert: TypeAlias = "sqlite.Insert | postgresql.Insert"


def insert_into(connection: Connection, table: Table) -> Insert:
    """With `on_conflict_do_nothing`, `on_conflict_do_update` and `excluded`, for this connection's database.

    Only that one's dialect is imported: with PostgreSQL's come five drivers.
    """
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def wrote(connection: Connection, statement: Insert) -> bool:
    """Executes it, for one row, and tells whether a row was written."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount > 0
