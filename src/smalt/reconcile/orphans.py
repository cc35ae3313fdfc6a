"""Tasks of this server's machine that are another server's to run by now, or nobody's: they are ended.

In a thread of its own: to end them takes time, and the leases of rows must not wait for it. It looks at a start, when
other servers had taken this one for lost, and once a minute, because what is given to another server may leave a task.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from smalt.store.database import Database
from smalt.store.servers import Servers, orphans

log = logging.getLogger("smalt.reconcile")

_EVERY_S = 60.0


class Orphans:
    """`owners`: this machine's tasks, with the rows that they are for; `remove` ends one."""

    def __init__(
        self,
        database: Database,
        servers: Servers,
        owners: Callable[[], Mapping[str, str]],
        remove: Callable[[str], None],
        every_s: float = _EVERY_S,
    ) -> None:
        self._database, self._servers = database, servers
        self._owners, self._remove = owners, remove
        self._every_s = every_s
        self._again = threading.Event()
        self._stopping = False

    def look_again(self) -> None:
        """Soon. From any thread."""
        self._again.set()

    def stop(self) -> None:
        self._stopping = True
        self._again.set()

    def run(self) -> None:
        """Until `stop`. A server that is alone has no others who could take anything."""
        while self._servers.me and not self._stopping:
            self._again.clear()
            try:
                self.end_all()
            except Exception:  # the edge: a damaged folder or a database that is away is looked at again
                log.exception("tasks without an owner could not be looked for")
            self._again.wait(self._every_s)

    def end_all(self) -> None:
        with self._database.read() as connection:
            names = orphans(connection, self._servers.me, self._owners())
        for name in names:
            log.warning("task %s has no owner any more: it is ended", name)
            try:
                self._remove(name)
            except (OSError, ValueError):
                log.exception("task %s could not be ended; it is tried again", name)
