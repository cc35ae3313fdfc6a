"""INSERT with ON CONFLICT, which SQLAlchemy has for each database apart."""

from __future__ import annotations

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def insert_into(connection: Connection, table: Table) -> Insert:
    """With `on_conflict_do_nothing`, `on_conflict_do_update` and `excluded`, for this connection's database."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def wrote(connection: Connection, statement: Insert) -> bool:
    """Executes it, for one row, and tells whether a row was written."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount > 0
