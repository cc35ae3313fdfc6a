"""MLflow's database as we open it, only once MLflow's process has completed its schema."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, ProgrammingError

from smalt.arm.ports import NotReady
from smalt.settings import Settings
from smalt.store.database import Database
from smalt.tracking.database.own_tables import is_ready
from smalt.tracking.database.place import tables_url

# What jobs log changes the same pages again and again: they go into the file once for 32 MB of it.
_JOURNAL_PAGES = 8000
_LACKING = ("42P01", "3F000")  # PostgreSQL has no such table, or no such schema
_AWAY = ("08", "57", "53300")  # a lost connection, a server that ends or begins, one that has too many connections


class TrackingDatabase:
    """`read()` and `write()` as in `Database`. Both raise NotReady while the schema is being made or upgraded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: Database | None = None
        self._inode = 0

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with _explained(), self._database().read() as connection:
            connection.begin()  # what is found ready here is what is read
            _check_ready(connection)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with _explained(), self._database().write() as connection:
            _check_ready(connection)
            yield connection

    def ready(self) -> bool:
        try:
            with self.read():
                return True
        except NotReady:
            return False

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    def _database(self) -> Database:
        """Never creates SQLite's file: MLflow's process puts it there, complete, with one rename."""
        inode = 0
        if not self._settings.postgresql:
            try:
                inode = self._settings.mlflow_database.stat().st_ino
            except FileNotFoundError:
                raise NotReady("MLflow is making its database; try again soon.") from None
        with self._lock:
            if self._opened is None or inode != self._inode:
                if self._opened is not None:
                    self._opened.close()
                url = tables_url(self._settings).render_as_string(hide_password=False)
                self._opened, self._inode = Database(url, journal_pages=_JOURNAL_PAGES), inode
            return self._opened


def _check_ready(connection: Connection) -> None:
    if not is_ready(connection):
        raise NotReady("MLflow is upgrading its database; try again soon.")


@contextmanager
def _explained() -> Iterator[None]:
    """A database that is locked, away or not made yet, or of an older version: come again, it is no failure."""
    try:
        yield
    except OperationalError as error:
        said = str(error.orig)
        if "locked" in said:
            raise NotReady("MLflow's database is busy; try again soon.") from error
        if "no such table: smalt_" in said:
            raise NotReady("MLflow is upgrading its database; try again soon.") from error
        if _is_away(error):
            raise NotReady("MLflow's database cannot be reached; try again soon.") from error
        raise
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in _LACKING:
            raise NotReady("MLflow is making its database; try again soon.") from error
        raise


def _is_away(error: OperationalError) -> bool:
    """Whether PostgreSQL is; where it could not be asked there is no state."""
    return hasattr(error.orig, "sqlstate") and (getattr(error.orig, "sqlstate", None) or "08").startswith(_AWAY)
