"""Connections and transactions: SQLite in WAL mode with one writer, or PostgreSQL.

`read()` and `write()` are the only ways in. No network call and no wait belongs inside either.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import OperationalError

from smalt.store.news import Hint, News, gathering
from smalt.store.quick import execute

log = logging.getLogger("smalt.store")

BUSY_TIMEOUT_MS = 10_000
JOURNAL_PAGES = 1000  # SQLite's own number
_COLLISIONS = ("40P01", "40001")  # deadlock, serialization failure
WIPE_TIMEOUT_MS = 500  # a start does not wait for readers; the next one tries again


class Collision(Exception):
    """PostgreSQL ended this transaction because of another's.

    Nothing was written, and it may be tried again at once.
    """


class Database:
    """One database, used from many threads. `url` is SQLAlchemy's; `written` is told how long each write took, in s."""

    def __init__(
        self, url: str, written: Callable[[float], None] = lambda seconds: None, journal_pages: int = JOURNAL_PAGES
    ) -> None:
        """`journal_pages`: when SQLite's journal is so long, its pages are brought into the file."""
        self._written = written
        if url.startswith("postgresql://"):
            url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        self.sqlite = url.startswith("sqlite")
        self.url = url
        self.name = uuid.uuid4().hex[:8]  # whose hints these are, among several servers
        self._writer = threading.Lock()
        self._followers: list[Callable[[Hint], None]] = []
        if self.sqlite:
            self._engine = create_engine(url, pool_size=16, max_overflow=64, connect_args={"check_same_thread": False})
            event.listen(self._engine, "connect", partial(_prepare_sqlite, journal_pages))
            event.listen(self._engine, "begin", _begin_deferred)
            path = self._engine.url.database
            if path and path != ":memory:":
                Path(path).touch(mode=0o600)
                Path(path).chmod(0o600)
        else:
            self._engine = create_engine(url, pool_size=16, max_overflow=64, pool_pre_ping=True)

    @property
    def plain_url(self) -> str:
        """The address as PostgreSQL's own programs write it, with its password."""
        return self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A consistent view; nothing written in it is kept."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction: committed at the end, rolled back on an exception. On SQLite one at a time.

        Raises Collision on PostgreSQL, where two transactions wait for each other.
        """
        news, begun = News(self.name), time.perf_counter()
        with self._transaction(news) as connection:
            yield connection
        self._written(time.perf_counter() - begun)
        for key, due in news.hints.items():
            for told in self._followers:
                told(Hint(key, due))

    @contextmanager
    def _transaction(self, news: News) -> Generator[Connection]:
        if not self.sqlite:
            try:
                with self._engine.begin() as connection:
                    yield gathering(connection, news)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) in _COLLISIONS:
                    raise Collision(str(error.orig)) from error
                raise
            return
        with (
            self._writer,
            self._engine.connect() as connection,
            gathering(connection, news, smalt_write=True).begin(),
        ):
            yield connection

    def follow(self, told: Callable[[Hint], None]) -> None:
        """`told` is called for each resource that a transaction changed, once it has committed.

        From the thread that wrote; it must not block.
        """
        self._followers.append(told)

    def wipe_remains(self) -> None:
        """Rewrite the file and cut its journal, once in its life: what changed rows held before stays in neither.

        PostgreSQL has its own ways (VACUUM FULL, and the end of its old journal).
        """
        if not self.sqlite:
            return
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute(f"PRAGMA busy_timeout={WIPE_TIMEOUT_MS}")
            if cursor.execute("PRAGMA user_version").fetchone() == (0,):
                cursor.execute("VACUUM")
                busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (1,)
                if not busy:  # else somebody reads the old journal; the next start tries again
                    cursor.execute("PRAGMA user_version = 1")
        except sqlite3.OperationalError as error:  # no room, or somebody writes for long
            log.warning(
                "What old rows held may still be in the database's file (%s); the next start tries again.", error
            )
        finally:
            raw.cursor().execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            raw.close()

    def close(self) -> None:
        self._engine.dispose()


def _prepare_sqlite(journal_pages: int, connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late for a writer
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"wal_autocheckpoint={journal_pages}",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "cache_size=-16000",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_deferred(connection: Connection) -> None:
    if connection.get_execution_options().get("smalt_write"):
        execute(connection, "BEGIN IMMEDIATE")  # waits, and may fail
    else:
        execute(connection, "BEGIN")


def exclusive(connection: Connection, name: str) -> None:
    """Until the transaction ends nobody else gets past this for the same name, be there a row for it or not.

    SQLite has one writer anyway.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
