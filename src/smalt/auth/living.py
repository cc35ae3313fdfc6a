"""Whether an identity still exists: a token says who it was given to, and that may have been deleted since."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, delete, select

from smalt.arm.ports import Principal
from smalt.store.database import Database
from smalt.store.tables import ended_identity, identity

FRESH_S = (
    0.5  # how long a deletion may stay unseen; it may come from another process (blobs: twice that, `RecentPermits`)
)
_KNOWN_MOST = 10_000
_REMEMBERED_S = 2 * 86_400.0  # twice as long as any token of an identity lasts


class LivingIdentities:
    """Service principals and managed identities, asked on every request.

    Two looks into the database a second for each.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[float, bool]] = {}

    def lives(self, oid: str) -> bool:
        known, now = self._known.get(oid), self._clock()
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        with self._database.read() as connection:
            lives = exists(connection, oid)
        if len(self._known) >= _KNOWN_MOST:
            self._known = {}
        self._known[oid] = (now, lives)
        return lives


def exists(connection: Connection, oid: str) -> bool:
    """Whether there is a service principal or managed identity with this object id, now."""
    return connection.execute(select(identity.c.oid).where(identity.c.oid == oid)).first() is not None


def end(connection: Connection, oid: str, now: float) -> None:
    """Note that this identity is deleted, for those who check tokens without asking for each (`ended`)."""
    connection.execute(delete(ended_identity).where(ended_identity.c.ended_at < now - _REMEMBERED_S))
    connection.execute(delete(ended_identity).where(ended_identity.c.oid == oid))
    connection.execute(ended_identity.insert().values(oid=oid, ended_at=now))


def ended(connection: Connection) -> tuple[str, ...]:
    """Object ids of the identities that were deleted while their tokens last."""
    return tuple(connection.execute(select(ended_identity.c.oid).order_by(ended_identity.c.oid)).scalars())


def concerns(principal: Principal, key: str) -> bool:
    """Whether `principal` stands for the resource `key`, or is in it: when that changes, it may have ended."""
    scope = principal.scope.lower()
    if not scope or not key.startswith(scope):
        return False
    below = key[len(scope) :]
    if principal.kind == "job":
        return below in ("", "/jobs/" + principal.name.removeprefix("job:").lower())
    return principal.kind != "endpoint" or below == "" or below.startswith("/onlineendpoints/")
