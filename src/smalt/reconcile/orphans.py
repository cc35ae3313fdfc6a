"""What is another server's by now, or nobody's, and was left here: tasks of this machine, which are ended, and routes.

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
_SOON_S = 1.0  # a proxy takes its routes over in steps


class Orphans:
    """`owners`: this machine's tasks, with the rows that they are for; `remove` ends one.

    `withdraw`: before that, no request goes to what another server has; whether it is so already.
    """

    def __init__(
        self,
        database: Database,
        servers: Servers,
        owners: Callable[[], Mapping[str, str]],
        remove: Callable[[str], None],
        withdraw: Callable[[], bool] = lambda: True,
        every_s: float = _EVERY_S,
    ) -> None:
        self._database, self._servers = database, servers
        self._owners, self._remove, self._withdraw = owners, remove, withdraw
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
            goes_on = self._tried(self._withdraw) is False
            self._tried(self.end_all)
            self._again.wait(_SOON_S if goes_on else self._every_s)

    @staticmethod
    def _tried(what: Callable[[], bool | None]) -> bool | None:
        try:
            return what()
        except Exception:  # the edge: a damaged folder or a database that is away is looked at again
            log.exception("what another server has by now could not be looked for")
            return None

    def end_all(self) -> None:
        with self._database.read() as connection:
            names = orphans(connection, self._servers.me, self._owners())
        for name in names:
            log.warning("task %s has no owner any more: it is ended", name)
            try:
                self._remove(name)
            except (OSError, ValueError):
                log.exception("task %s could not be ended; it is tried again", name)
