"""What we put beside MLflow's tables when its migrations are through, and the sign that all is there.

Everybody but MLflow's process waits for that sign. SQLite has it in its file (`user_version`), PostgreSQL as a row.
"""

from __future__ import annotations

import hashlib
from itertools import groupby

from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, insert, inspect, select, text

from smalt.store.database import exclusive
from smalt.store.quick import execute
from smalt.tracking.database import schema, triggers

_READY = 1
_NEWEST = "smalt_runs_newest"
_OWN = (schema.accounts, schema.model_places, schema.creations, schema.changed_runs)
_ready = Table("smalt_ready", MetaData(), Column("version", Text, primary_key=True))


def complete(connection: Connection) -> None:
    """Our tables and triggers. Again it changes nothing.

    The first time, all runs count as changed: their jobs have not heard of them.
    """
    index(connection)  # first: who waits for its lock has none of a table
    for table in (schema.accounts, schema.model_places, schema.creations):
        table.create(connection, checkfirst=True)
    if not inspect(connection).has_table(schema.changed_runs.name):
        schema.changed_runs.create(connection)
        connection.exec_driver_sql(triggers.ALL_RUNS_CHANGED)
    if connection.dialect.name == "postgresql":
        drop_triggers(connection)
        _widen(connection)
    for statement in triggers.statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def index(connection: Connection) -> None:
    """The runs by when they began, for pages of the newest; MLflow has no index for that. Again it changes nothing."""
    exclusive(connection, "smalt.mlflow.index")  # two that make it at once would collide, in spite of IF NOT EXISTS
    if _NEWEST not in {one["name"] for one in inspect(connection).get_indexes("runs")}:
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {_NEWEST} ON runs (start_time DESC, run_uuid)")


def is_complete(connection: Connection) -> bool:
    """Whether all of it is there as it should be, beside MLflow's tables of the version that is known here."""
    if connection.dialect.name != "sqlite":
        return ready_version(connection) == version(schema.REVISION)
    known = execute(connection, "SELECT version_num FROM alembic_version") == [(schema.REVISION,)]
    there = {sql for (sql,) in execute(connection, "SELECT sql FROM sqlite_master WHERE type = 'trigger'")}
    wanted = {one for one in triggers.statements("sqlite") if one.startswith("CREATE")}
    return known and wanted <= there and all(inspect(connection).has_table(table.name) for table in _OWN)


def version(revision: str) -> str:
    """What `set_ready` is told on PostgreSQL: of MLflow's tables, and of what we add to them."""
    ours = hashlib.sha256("".join(triggers.statements("postgresql")).encode()).hexdigest()
    return f"{revision}/{ours[:16]}"


def drop_triggers(connection: Connection) -> None:
    """PostgreSQL does not change a column that a trigger looks at."""
    for statement in triggers.drops():
        connection.exec_driver_sql(statement)


def is_ready(connection: Connection) -> bool:
    """Raises ProgrammingError on PostgreSQL where nothing has been made yet."""
    if connection.dialect.name == "sqlite":
        return execute(connection, "PRAGMA user_version") == [(_READY,)]
    return ready_version(connection) is not None


def ready_version(connection: Connection) -> str | None:
    """What `set_ready` was told on PostgreSQL; None where the schema is not complete."""
    return connection.scalar(select(_ready.c.version))


def set_ready(connection: Connection, version: str) -> None:
    """`version` of what was made; '' takes the sign away. SQLite keeps no version."""
    if connection.dialect.name == "sqlite":
        execute(connection, f"PRAGMA user_version={_READY if version else 0}")
        return
    _ready.create(connection, checkfirst=True)
    connection.execute(delete(_ready))
    if version:
        connection.execute(insert(_ready).values(version=version))


def _widen(connection: Connection) -> None:
    """Texts without a length, as SQLite has them: a job's name, which is its run's id, has more than 32 characters.

    MLflow checks lengths itself. No row is rewritten.
    """
    found = connection.execute(
        text(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND character_maximum_length IS NOT NULL ORDER BY table_name"
        )
    )
    for table, columns in groupby(found.all(), lambda row: row.table_name):
        widened = ", ".join(f'ALTER "{row.column_name}" TYPE text' for row in columns)
        connection.exec_driver_sql(f'ALTER TABLE "{table}" {widened}')
