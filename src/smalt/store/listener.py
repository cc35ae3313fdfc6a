"""Hears what other servers changed, on PostgreSQL: one connection that listens, in one thread.

A hint is only a hint. While the connection is gone some may be missed, so after each new one everything counts as
changed.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smalt.store.database import Database
from smalt.store.news import CHANNEL, EVERYTHING, Hint, parsed

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger("smalt.store")

PAUSE_S = 0.1  # before the first try to reach PostgreSQL again; doubling
PAUSE_MOST_S = 5.0
# A peer that vanished without a word is noticed within half a minute.
_KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "connect_timeout": 10,
}


class Listener:
    """`told` is called from the thread for each hint of another server; it must not block."""

    def __init__(self, database: Database, told: Callable[[Hint], None]) -> None:
        self._database = database
        self._told = told
        self._wake, self._stop = os.pipe()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self.listening = threading.Event()  # for tests

    def start(self) -> None:
        """On SQLite there is nobody to listen to."""
        if not self._database.sqlite:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        os.write(self._stop, b"x")
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake)
        os.close(self._stop)

    def _run(self) -> None:
        import psycopg  # where SQLite is used it need not be loaded

        pause_s = PAUSE_S
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._database.plain_url, autocommit=True, **_KEEPALIVE) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    pause_s = PAUSE_S
                    self._told(Hint(EVERYTHING, True))  # whatever came before we listened
                    self.listening.set()
                    self._listen(connection)
            except psycopg.Error as error:
                log.warning("PostgreSQL cannot be listened to, tried again in %.1f s: %s", pause_s, error)
            self.listening.clear()
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MOST_S)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                for notify in connection.notifies(timeout=0):
                    sender, hint = parsed(notify.payload)
                    if sender != self._database.name:
                        self._told(hint)
