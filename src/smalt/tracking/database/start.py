"""MLflow's tables when the server starts: made, and at our address, without MLflow's process where that can be.

`mlflow_tables.sql` is what MLflow's migrations make of an empty file of SQLite; they take seconds, and their import as
long again. `tests/contract/tracking/test_tracking_tables.py` compares. A file of another version, and PostgreSQL's
schema until it is complete, are MLflow's process's to bring there (`migration.py`).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.ports import NotReady
from smalt.settings import Settings
from smalt.store.database import Collision
from smalt.tracking.database import own_tables, sqlite_file
from smalt.tracking.database.relocation import relocate
from smalt.tracking.database.tracking_database import TrackingDatabase

TABLES = Path(__file__).with_name("mlflow_tables.sql")

_LOCK_WAIT = "2s"  # for who writes to MLflow's tables meanwhile

_log = logging.getLogger(__name__)


def settle(settings: Settings) -> bool:
    """Whether all is as it should be; else MLflow's process is needed."""
    try:
        if not settings.postgresql and not settings.mlflow_database.exists():
            sqlite_file.make(settings.mlflow_database, _fill)
        return _settled(settings)
    except NotReady as error:
        _log.info("MLflow's process is needed: %s", error)
    except (OSError, sqlite3.Error, SQLAlchemyError, Collision) as error:  # a full disk: it may pass
        _log.warning("MLflow's tables could not be looked at, and are left to MLflow's process: %s", error)
    return False


def _settled(settings: Settings) -> bool:
    database = TrackingDatabase(settings)
    try:
        with database.read() as connection:
            complete = own_tables.is_complete(connection)
        if complete:
            with database.write() as connection:
                relocate(connection, settings)
            _index(database)
        return complete
    finally:
        database.close()


def _index(database: TrackingDatabase) -> None:
    """Without it pages of runs are slower; the next start tries again."""
    try:
        with database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
            own_tables.index(connection)
    except (NotReady, SQLAlchemyError, Collision) as error:
        _log.warning("An index of MLflow's runs could not be made; the next start tries again: %s", error)


def _fill(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES.read_text())
