"""What happened to a resource and when: its changes of state, and the stages in between.

Old events are forgotten in small pieces (`forget`), so that the table does not grow for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from smalt.store.tables import event

_INSERT = event.insert()
KEPT_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Event:
    at: float
    before: str | None
    after: str
    reason: str


def record(connection: Connection, key: str, before: str | None, after: str, reason: str, now: float) -> None:
    values = {"resource_id": key, "at": now, "before": before, "after": after, "reason": reason}
    connection.execute(_INSERT, values)


def newest(connection: Connection, key: str, most: int = 200) -> list[Event]:
    """The newest events of a resource, oldest first."""
    query = select(event).where(event.c.resource_id == key.lower()).order_by(event.c.seq.desc()).limit(most)
    return [Event(row.at, row.before, row.after, row.reason) for row in reversed(connection.execute(query).all())]


def forget(connection: Connection, before: float, most: int = 1000) -> int:
    """Remove up to `most` of the oldest events that are older than `before`; how many went."""
    oldest = connection.execute(select(event.c.seq, event.c.at).order_by(event.c.seq).limit(most)).all()
    old = [row.seq for row in oldest if row.at < before]
    if old:
        connection.execute(delete(event).where(event.c.seq <= old[-1], event.c.at < before))
    return len(old)
