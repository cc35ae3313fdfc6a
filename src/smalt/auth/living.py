"""Whether an identity still exists: a token says who it was given to, and that may have been deleted since."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select

from smalt.store.database import Database
from smalt.store.tables import identity

FRESH_S = (
    0.5  # how long a deletion may stay unseen; it may come from another process (blobs: twice that, `RecentPermits`)
)
_KNOWN_MOST = 10_000


class LivingIdentities:
    """Service principals and managed identities, asked on every request: two looks into the database a second for each."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[float, bool]] = {}

    def lives(self, oid: str) -> bool:
        known, now = self._known.get(oid), self._clock()
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        with self._database.read() as connection:
            lives = connection.execute(select(identity.c.oid).where(identity.c.oid == oid)).first() is not None
        if len(self._known) >= _KNOWN_MOST:
            self._known = {}
        self._known[oid] = (now, lives)
        return lives
