"""Sessions that were ended before their time: a row for each until it would be over, on any server."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete, insert, select

from smalt.store.database import Database
from smalt.store.tables import used_link

_REMEMBERED_S = 1.0  # so long another server may go on to take what was ended here
_REMEMBERED = 1000


class EndedSessions:
    """`cookie` is what was sealed: its end is told apart by what its signature covers, which nobody can spell anew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, bool]] = {}

    def end(self, cookie: str, ends_at: float, now: float) -> None:
        self._keep(_mark(cookie), ends_at, now)

    def end_all(self, oid: str, until: float, now: float) -> None:
        """Those of `oid` that would end by `until`, which is when one that begins now would."""
        self._keep(f"sessions {oid}", until, now)

    def has_ended(self, cookie: str, oid: str, ends_at: float, now: float) -> bool:
        mark = _mark(cookie)
        at, ended = self._known.get(mark, (float("-inf"), False))
        if not 0 <= now - at < _REMEMBERED_S:
            ended = self._read(mark, oid, ends_at)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[mark] = now, ended
        return ended

    def _read(self, mark: str, oid: str, ends_at: float) -> bool:
        query = select(used_link.c.nonce, used_link.c.ends_at).where(used_link.c.nonce.in_((mark, f"sessions {oid}")))
        with self._database.read() as connection:
            return any(nonce == mark or ends_at <= until for nonce, until in connection.execute(query))

    def _keep(self, nonce: str, ends_at: float, now: float) -> None:
        with self._database.write() as connection:
            connection.execute(delete(used_link).where((used_link.c.ends_at < now) | (used_link.c.nonce == nonce)))
            connection.execute(insert(used_link).values(nonce=nonce, ends_at=ends_at))
        self._known.clear()


def _mark(cookie: str) -> str:
    return "session " + hashlib.sha256(cookie.partition(".")[0].encode()).hexdigest()
