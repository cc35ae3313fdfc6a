"""MLflow's file of SQLite: put into place complete, with what is ours beside MLflow's tables."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from smalt.tracking.database import own_tables

READY = 1  # as `own_tables` has it in SQLite's file
WAIT_S = 60


def make(path: Path, fill: Callable[[Path], None]) -> None:
    """A new file that `fill` has put MLflow's tables into. A kill at any line leaves none, or a complete one."""
    unfinished = path.with_name(path.name + ".new")
    discard(unfinished)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    fill(unfinished)
    complete(unfinished)
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={READY}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    unfinished.replace(path)


def complete(path: Path) -> None:
    """In one transaction, also what makes tables: the driver's own would begin too late."""
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": WAIT_S, "isolation_level": None}
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            own_tables.complete(connection)
    finally:
        engine.dispose()


def discard(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
