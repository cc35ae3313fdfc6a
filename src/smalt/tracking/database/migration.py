"""MLflow's schema, made and upgraded so that a kill at any line leaves a database that works or none.

A new database is made aside and renamed into place. An older one is copied aside first and put back if an upgrade was
cut short. Runs in MLflow's process only; everybody else waits for `user_version` to be READY.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import mlflow.store.db.utils as stock
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from smalt.tracking.database import schema


def prepare(path: Path) -> None:
    """After this the database at `path` has the schema of the MLflow that is installed."""
    if not path.exists():
        _make(path)
        return
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        ready = connection.execute("PRAGMA user_version").fetchone()[0] == schema.READY
        current = ready and _revision(connection) == stock._get_latest_schema_revision()
    if current:
        _add_own_tables(path)
        return
    _upgrade(path)


def _make(path: Path) -> None:
    unfinished = path.with_name(path.name + ".new")
    _discard(unfinished)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _migrate(unfinished)
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={schema.READY}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    unfinished.replace(path)


def _upgrade(path: Path) -> None:
    backup = path.with_name(path.name + ".before-upgrade")
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != schema.READY and backup.exists():
            with contextlib.closing(sqlite3.connect(backup)) as source:
                source.backup(connection)  # an upgrade was cut short: start it again from what was before
        connection.execute("PRAGMA user_version=0")
        connection.commit()
        copying = backup.with_name(backup.name + ".new")
        _discard(copying)
        os.close(os.open(copying, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(copying)) as target:
            connection.backup(target)
        copying.replace(backup)
    _migrate(path)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={schema.READY}")
        connection.commit()


def _migrate(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 60})
    try:
        if stock._all_tables_exist(engine):
            stock._upgrade_db(engine)
        else:
            stock._initialize_tables(engine)
    finally:
        engine.dispose()
    _add_own_tables(path)


def _add_own_tables(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 60})
    try:
        for table in (schema.accounts, schema.model_places, schema.creations):
            table.create(engine, checkfirst=True)
    finally:
        engine.dispose()
    _watch_runs(path)


def _watch_runs(path: Path) -> None:
    """The first time, all runs count as changed, in one transaction: their jobs have not heard of them."""
    table = schema.changed_runs
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,)).fetchone()
        if known is None:
            connection.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
            connection.execute(schema.ALL_RUNS_CHANGED)
        for statement in schema.TRIGGERS:
            connection.execute(statement)
        connection.execute("COMMIT")


def _revision(connection: sqlite3.Connection) -> str:
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return found[0] if found else ""


def _discard(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
