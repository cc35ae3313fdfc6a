"""MLflow's schema, made and upgraded so that a kill at any line leaves a database that works or none.

A new file of SQLite is made aside and renamed into place. An older one is copied aside first and put back if an upgrade
was cut short. On PostgreSQL, where each step is a transaction, a kill leaves the schema without its sign, and whoever
comes next goes on; one at a time. Runs in MLflow's process only; everybody else waits for `own_tables.is_ready`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

import mlflow.store.db.utils as stock
from sqlalchemy import URL, Connection, Engine, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from smalt.settings import Settings
from smalt.tracking.database import own_tables
from smalt.tracking.database.place import SCHEMA, tables_url
from smalt.tracking.database.sqlite_file import READY, WAIT_S, complete, discard, make


def prepare(settings: Settings) -> bool:
    """After this MLflow's tables are those of the MLflow that is installed, with ours beside them.

    Returns whether anything had to be made or changed for that.
    """
    if settings.postgresql:
        return prepare_postgresql(tables_url(settings))
    return prepare_sqlite(settings.mlflow_database)


def prepare_postgresql(url: URL) -> bool:
    """In the schema that connections of `url` find first. Nothing is written where all is as it should be."""
    engine = create_engine(url, poolclass=NullPool)
    held = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with held.connect() as connection:  # whose end gives the lock back
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended('smalt.mlflow', 0))"))
            if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            wanted = own_tables.version(stock._get_latest_schema_revision())
            if _ready_version(connection) == wanted:
                return False
            with engine.begin() as whole:
                own_tables.set_ready(whole, "")
                own_tables.drop_triggers(whole)
            _migrate_postgresql(engine)
            with engine.begin() as whole:
                own_tables.complete(whole)
                own_tables.set_ready(whole, wanted)
            return True
    finally:
        engine.dispose()
        held.dispose()


def _ready_version(connection: Connection) -> str | None:
    found = connection.scalar(text("SELECT to_regclass('smalt_ready')"))
    return own_tables.ready_version(connection) if found else None


def _migrate_postgresql(engine: Engine) -> None:
    if inspect(engine).has_table("alembic_version") and stock._get_schema_version(engine):
        stock._upgrade_db(engine)
    else:
        stock._initialize_tables(engine)


def prepare_sqlite(path: Path) -> bool:
    """The file at `path`."""
    if not path.exists():
        make(path, _migrate)
        return True
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        ready = connection.execute("PRAGMA user_version").fetchone()[0] == READY
        current = ready and _revision(connection) == stock._get_latest_schema_revision()
    if current:
        before = _statements(path)
        complete(path)
        return _statements(path) != before
    _upgrade(path)
    return True


def _upgrade(path: Path) -> None:
    backup = path.with_name(path.name + ".before-upgrade")
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != READY and backup.exists():
            with contextlib.closing(sqlite3.connect(backup)) as source:
                source.backup(connection)  # an upgrade was cut short: start it again from what was before
        connection.execute("PRAGMA user_version=0")
        connection.commit()
        copying = backup.with_name(backup.name + ".new")
        discard(copying)
        os.close(os.open(copying, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(copying)) as target:
            connection.backup(target)
        copying.replace(backup)
    _migrate(path)
    complete(path)
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={READY}")
        connection.commit()


def _migrate(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": WAIT_S})
    try:
        if stock._all_tables_exist(engine):
            stock._upgrade_db(engine)
        else:
            stock._initialize_tables(engine)
    finally:
        engine.dispose()


def _statements(path: Path) -> set[str | None]:
    """What the tables, indexes and triggers of the file are made of."""
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
        return {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}


def _revision(connection: sqlite3.Connection) -> str:
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return ""
    return found[0] if found else ""


def script() -> str:
    """What the migrations make of an empty file of SQLite, as statements, of which `start.py` makes a new root's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        _migrate(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            said = [line.rstrip() for one in connection.iterdump() for line in one.splitlines()]
    return "\n".join(["-- Made by scripts/mlflow_tables; see start.py.", *said, ""])
