"""MLflow's schema, made and upgraded so that a kill at any line leaves a database that works or none.

A new file of SQLite is made aside and renamed into place. An older one is copied aside first and put back if an upgrade
was cut short. On PostgreSQL, where each step is a transaction, a kill leaves the schema without its sign, and whoever
comes next goes on; one at a time. Runs in MLflow's process only; everybody else waits for `own_tables.is_ready`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from pathlib import Path

import mlflow.store.db.utils as stock
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from smalt.settings import Settings
from smalt.tracking.database import own_tables, triggers
from smalt.tracking.database.place import SCHEMA, tables_url

_READY = 1  # as `own_tables` has it in SQLite's file
_WAIT_S = 60


def prepare(settings: Settings) -> None:
    """After this MLflow's tables are those of the MLflow that is installed, with ours beside them."""
    if settings.postgresql:
        prepare_postgresql(tables_url(settings))
    else:
        prepare_sqlite(settings.mlflow_database)


def prepare_postgresql(url: URL) -> None:
    """In the schema that connections of `url` find first. Nothing is written where all is as it should be."""
    engine = create_engine(url, poolclass=NullPool)
    held = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with held.connect() as connection:  # whose end gives the lock back
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended('smalt.mlflow', 0))"))
            if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            wanted = _wanted_version()
            if _ready_version(connection) != wanted:
                with engine.begin() as whole:
                    own_tables.set_ready(whole, "")
                    own_tables.drop_triggers(whole)
                _migrate_postgresql(engine)
                with engine.begin() as whole:
                    own_tables.complete(whole)
                    own_tables.set_ready(whole, wanted)
    finally:
        engine.dispose()
        held.dispose()


def _wanted_version() -> str:
    ours = hashlib.sha256("".join(triggers.statements("postgresql")).encode()).hexdigest()
    return f"{stock._get_latest_schema_revision()}/{ours[:16]}"


def _ready_version(connection: Connection) -> str | None:
    found = connection.scalar(text("SELECT to_regclass('smalt_ready')"))
    return own_tables.ready_version(connection) if found else None


def _migrate_postgresql(engine: Engine) -> None:
    if inspect(engine).has_table("alembic_version") and stock._get_schema_version(engine):
        stock._upgrade_db(engine)
    else:
        stock._initialize_tables(engine)


def prepare_sqlite(path: Path) -> None:
    """The file at `path`."""
    if not path.exists():
        _make(path)
        return
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S)) as connection:
        ready = connection.execute("PRAGMA user_version").fetchone()[0] == _READY
        current = ready and _revision(connection) == stock._get_latest_schema_revision()
    if current:
        _complete_sqlite(path)
        return
    _upgrade(path)


def _make(path: Path) -> None:
    unfinished = path.with_name(path.name + ".new")
    _discard(unfinished)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _migrate(unfinished)
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={_READY}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    unfinished.replace(path)


def _upgrade(path: Path) -> None:
    backup = path.with_name(path.name + ".before-upgrade")
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != _READY and backup.exists():
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
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={_READY}")
        connection.commit()


def _migrate(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": _WAIT_S})
    try:
        if stock._all_tables_exist(engine):
            stock._upgrade_db(engine)
        else:
            stock._initialize_tables(engine)
    finally:
        engine.dispose()
    _complete_sqlite(path)


def _complete_sqlite(path: Path) -> None:
    """In one transaction, also what makes tables: the driver's own would begin too late."""
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": _WAIT_S, "isolation_level": None}
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            own_tables.complete(connection)
    finally:
        engine.dispose()


def _revision(connection: sqlite3.Connection) -> str:
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return found[0] if found else ""


def _discard(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
