"""Several servers on one PostgreSQL, each with a root and a machine of its own: who they are, and which rows are whose.

A row with a `home` has something on that server's machine (tasks, routes of its gateway): no other server steps it
while that one lives. A server is lost when it has written nothing for `lost_after_s`; then its rows are anybody's, and
their kinds find that what they had is lost. On SQLite there is one server, which has no id and no rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, select, update

from smalt.store.database import Database, exclusive
from smalt.store.news import EVERYTHING, tell
from smalt.store.nodes import CONNECTED
from smalt.store.tables import node, node_task, resource, server

_LOCK = "servers"
_FORGOTTEN_S = 30 * 86_400.0


@dataclass
class Servers:
    """`me` is this one, empty where it is alone for good. Thread-safe: `others` is replaced as a whole.

    `others`: the addresses of the other servers that live, by their ids, as of the last `beat`.
    """

    database: Database
    clock: Callable[[], float]
    me: str = ""
    url: str = ""
    lost_after_s: float = 300.0
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    _given_up: frozenset[str] = frozenset()

    def beat(self) -> bool:
        """Say that this one lives, and hear of the others; whether it counted as lost (or had never said a word).

        What a server had that is found to be lost is due at once: nobody says of it what would wake its rows. One that
        is back has again what machines run that dial it.
        """
        if not self.me:
            return False
        now = self.clock()
        since = now - self.lost_after_s
        with self.database.write() as connection:
            before = connection.execute(select(server.c.seen_at).where(server.c.id == self.me)).scalar()
            _say(connection, self.me, self.url, now)
            self.others = _living(connection, self.me, since)
            lost = _silent(connection, self.me, since)
            _make_due(connection, lost - self._given_up, now)
            if before is not None and before < since:
                _take_back(connection, self.me, now)
        self._given_up = lost
        return before is None or before < since

    def lost(self, home: str | None, connection: Connection | None = None) -> bool:
        """Whether what a row has on its home's machine is lost to us. Asks the database only where it is another's.

        `connection`: of a transaction that is under way.
        """
        return home not in (None, "", self.me) and home not in self._heard(connection)

    def url_of(self, home: str | None) -> str:
        """The address of the server that has a row; of this one where nobody has it."""
        return self.others.get(home or "", self.url)

    def _heard(self, connection: Connection | None) -> Mapping[str, str]:
        with nullcontext(connection) if connection else self.database.read() as reading:
            self.others = _living(reading, self.me, self.clock() - self.lost_after_s)
        return self.others


def register(connection: Connection, me: str, url: str, kinds: Sequence[str], now: float) -> None:
    """At a start. The first server of all takes what a version before it has under way, of these kinds."""
    exclusive(connection, _LOCK)
    connection.execute(delete(server).where(server.c.seen_at < now - _FORGOTTEN_S, server.c.id != me))
    if connection.execute(select(server.c.id).limit(1)).first() is None:
        connection.execute(
            update(resource)
            .where(resource.c.kind.in_(kinds), resource.c.due_at.is_not(None), resource.c.home.is_(None))
            .values(home=me)
        )
    _say(connection, me, url, now)


def move(connection: Connection, rows: Sequence[str], home: str) -> None:
    """Their tasks' machine has dialled another server: that one steps them from now on."""
    unended = resource.c.ended_at.is_(None)
    connection.execute(update(resource).where(resource.c.id.in_(list(rows)), unended).values(home=home))


def orphans(connection: Connection, me: str, owners: Mapping[str, str]) -> list[str]:
    """Those of this server's tasks (with their owners' ids) whose owner is gone, or another server's by now."""
    query = select(resource.c.id).where(resource.c.id.in_(list(set(owners.values()))), resource.c.home == me)
    ours = set(connection.execute(query).scalars())
    return [name for name, owner in owners.items() if owner not in ours]


def _say(connection: Connection, me: str, url: str, now: float) -> None:
    values = {"url": url, "seen_at": now}
    if not connection.execute(update(server).where(server.c.id == me).values(values)).rowcount:
        connection.execute(server.insert().values(id=me, **values))


def _living(connection: Connection, me: str, since: float) -> dict[str, str]:
    query = select(server.c.id, server.c.url).where(server.c.id != me, server.c.seen_at >= since)
    return {row.id: row.url for row in connection.execute(query)}


def _silent(connection: Connection, me: str, since: float) -> frozenset[str]:
    query = select(server.c.id).where(server.c.id != me, server.c.seen_at < since)
    return frozenset(connection.execute(query).scalars())


def _make_due(connection: Connection, homes: frozenset[str], now: float) -> None:
    """Those of their rows that would be looked at later."""
    if homes:
        later = (resource.c.home.in_(homes), resource.c.due_at > now)
        if connection.execute(update(resource).where(*later).values(due_at=now)).rowcount:
            tell(connection, EVERYTHING, due=True)


def _take_back(connection: Connection, me: str, now: float) -> None:
    """Others have stepped these rows while this server counted as lost; but only here a line leads to their tasks."""
    dialled = select(node.c.name).where(node.c.server == me, node.c.state == CONNECTED)
    owners = select(node_task.c.owner).where(node_task.c.node.in_(dialled))
    elsewhere = (resource.c.id.in_(owners), resource.c.ended_at.is_(None), resource.c.home.is_distinct_from(me))
    if connection.execute(update(resource).where(*elsewhere).values(home=me, due_at=now)).rowcount:
        tell(connection, EVERYTHING, due=True)
