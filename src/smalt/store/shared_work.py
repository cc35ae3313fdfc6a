"""Who does a piece of work that several need: one of them. Decided where the rows are, so it holds for all servers."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, String, bindparam, select, text, update

from smalt.store import resources
from smalt.store.database import Collision
from smalt.store.resources import Row
from smalt.store.tables import shared_work

_CLAIM = text("INSERT INTO shared_work (key, job) VALUES (:key, :job) ON CONFLICT (key) DO NOTHING")
_TRIES = 10
_HOLDER = select(shared_work.c.job).where(shared_work.c.key == bindparam("work", type_=String)).with_for_update()


def claim(connection: Connection, key: str, job: str, counts: Callable[[Row], bool]) -> Row | None:
    """None: the job of this id does the work from now on. Else the one that has it, where that one `counts` for it.

    Who asks for the same work meanwhile waits for the end of this transaction. Raises Collision where it is claimed and
    given up again and again.
    """
    for _ in range(_TRIES):
        if connection.execute(_CLAIM, {"key": key, "job": job}).rowcount == 1:
            return None
        holder = connection.execute(_HOLDER, {"work": key}).scalar()
        if holder is not None:  # else it was removed in between
            break
    else:
        raise Collision(f"who does '{key}' changes all the time")
    row = resources.get(connection, holder) if holder != job else None
    if row is not None and counts(row):
        return row
    connection.execute(update(shared_work).where(shared_work.c.key == key).values(job=job))
    return None
