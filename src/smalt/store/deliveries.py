"""How far the feed has been told to somebody elsewhere: a cursor, which one server at a time moves on."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from smalt.store import feed
from smalt.store.database import exclusive
from smalt.store.feed import Cursor, NotACursor
from smalt.store.lineage_tables import delivery


def claim(connection: Connection, name: str, holder: str, now: float, lease_s: float) -> Cursor | None:
    """Up to where it was told, if this server is to go on; None: another one does. It begins with what comes from now.

    A cursor of another database is behind all that there is.
    """
    exclusive(connection, f"delivery {name}")
    found = connection.execute(select(delivery).where(delivery.c.name == name)).first()
    if found is None:
        cursor = feed.newest(connection)
        values = {"name": name, "cursor": str(cursor), "holder": holder, "until": now + lease_s}
        connection.execute(delivery.insert().values(values))
        return cursor
    if found.holder != holder and now < found.until <= now + lease_s:  # further away: the clock was set back
        return None
    mine = update(delivery).where(delivery.c.name == name).values(holder=holder, until=now + lease_s)
    connection.execute(mine)
    try:
        return Cursor.parse(found.cursor)
    except NotACursor:
        return feed.newest(connection)


def advance(connection: Connection, name: str, holder: str, cursor: Cursor) -> bool:
    """What is before `cursor` was told; False: another server goes on meanwhile."""
    mine = update(delivery).where(delivery.c.name == name, delivery.c.holder == holder)
    return connection.execute(mine.values(cursor=str(cursor))).rowcount == 1
