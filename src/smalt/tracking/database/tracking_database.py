"""MLflow's database as we open it: the same SQLite file, only once MLflow's process has completed its schema."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from smalt.arm.ports import NotReady
from smalt.store.database import Database
from smalt.store.quick import execute
from smalt.tracking.database.schema import READY


class TrackingDatabase:
    """`read()` and `write()` as in `Database`. Both raise NotReady while the schema is being made or upgraded."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
        """Never creates the file: MLflow's process puts it there, complete, with one rename."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            raise NotReady("MLflow is making its database; try again soon.") from None
        with self._lock:
            if self._opened is None or inode != self._inode:
                if self._opened is not None:
                    self._opened.close()
                self._opened, self._inode = Database(f"sqlite:///{self._path}"), inode
            return self._opened


def _check_ready(connection: Connection) -> None:
    if execute(connection, "PRAGMA user_version") != [(READY,)]:
        raise NotReady("MLflow is upgrading its database; try again soon.")


@contextmanager
def _explained() -> Iterator[None]:
    """A database that stays locked (an upgrade, a copy), or is of an older version: come again, it is no failure."""
    try:
        yield
    except OperationalError as error:
        said = str(error.orig)
        if "locked" in said:
            raise NotReady("MLflow's database is busy; try again soon.") from error
        if "no such table: smalt_" in said:
            raise NotReady("MLflow is upgrading its database; try again soon.") from error
        raise
