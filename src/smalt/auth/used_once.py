"""What works once: login links, and client assertions signed with a certificate."""

from __future__ import annotations

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError

from smalt.store.database import Database
from smalt.store.tables import used_link


def use(database: Database, nonce: str, ends_at: float, now: float) -> bool:
    """Whether this is the first use of `nonce`, on any thread of any server; remembered until `ends_at` has passed."""
    with database.write() as connection:
        connection.execute(delete(used_link).where(used_link.c.ends_at < now))
    try:
        with database.write() as connection:
            connection.execute(insert(used_link).values(nonce=nonce, ends_at=ends_at))
    except IntegrityError:
        return False
    return True
