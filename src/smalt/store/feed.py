"""Changes read in the order of commits, by readers that come back with a cursor: each exactly once.

Changes of one resource keep their order. On SQLite, which has one writer, the sequence is the order. On PostgreSQL a
transaction that took its numbers earlier may commit later: "all behind number n" would miss what it wrote. So a row
names its transaction, and a cursor the snapshot up to which was read. What became visible between two snapshots is a
batch, in order of the sequence, and a cursor says how far in it the reader is. Nobody waits for a slow transaction.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, String, and_, cast, func, literal, or_, select, text, true

from smalt.store.changes import scope_of
from smalt.store.tables import change

_SNAPSHOT = re.compile(r"(\d{1,19}):(\d{1,19}):((?:\d{1,19}(?:,\d{1,19})*)?)", re.ASCII)
_CURSOR = re.compile(r"1~([\d:,]*)~([\d:,]*)~(\d{1,18})", re.ASCII)
_LONGEST = 32_768
_COLUMNS = [one for one in change.columns if one.name not in ("xid", "expires_at", "scope")]


class NotACursor(ValueError):
    """It was not given out by this database."""


@dataclass(frozen=True)
class Cursor:
    """Up to where a reader has read: all that was visible in `since`, and of what `upto` adds up to `sequence`.

    Both are PostgreSQL's snapshots; '' is: nothing, and: not begun. On SQLite the sequence says it all.
    """

    since: str = ""
    upto: str = ""
    sequence: int = 0

    def __str__(self) -> str:
        plain = f"1~{self.since}~{self.upto}~{self.sequence}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, written: str) -> Cursor:
        """Raises NotACursor."""
        try:
            plain = base64.b64decode(written + "=" * (-len(written) % 4), b"-_", validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            raise NotACursor(written[:100]) from None
        found = _CURSOR.fullmatch(plain) if len(plain) <= _LONGEST else None
        if found is None or not all(_is_snapshot(one) for one in (found[1], found[2])):
            raise NotACursor(written[:100])
        return cls(found[1], found[2], int(found[3]))


@dataclass(frozen=True)
class Change:
    """`cursor` is behind it: a reader that comes back with that gets the next one."""

    cursor: Cursor
    at: float
    kind: str
    resource_id: str
    generation: int | None
    what: str
    before: str | None
    after: str | None
    reason: str
    actor: str
    request_id: str


@dataclass(frozen=True)
class Page:
    """`cursor` is behind all of it; `more`: there is more already."""

    changes: Sequence[Change]
    cursor: Cursor
    more: bool


def after(
    connection: Connection,
    cursor: Cursor,
    below: str = "",
    kinds: Collection[str] = (),
    whats: Collection[str] = (),
    most: int = 200,
) -> Page:
    """Up to `most` changes behind `cursor`, of `below` (a lowered id) and what is in it; all where that is ''.

    Raises NotACursor for one of another database.
    """
    wanted = and_(_below(below), change.c.kind.in_(kinds) if kinds else true())
    wanted = and_(wanted, change.c.what.in_(whats)) if whats else wanted
    if connection.dialect.name == "postgresql":
        return _after_snapshot(connection, cursor, wanted, _order(below), most)
    if cursor.since or cursor.upto:
        raise NotACursor(str(cursor))
    order = _order(below)
    found = _read(connection, Cursor(), and_(wanted, order > cursor.sequence), order, most)
    if len(found) == most:
        return Page(found, found[-1].cursor, True)
    last = newest(connection)
    if cursor.sequence > last.sequence:
        raise NotACursor(str(cursor))
    return Page(found, last, False)


def latest(
    connection: Connection, sequence: int, below: str, kinds: Collection[str], whats: Collection[str], most: int
) -> list[Change]:
    """For people: up to `most` changes before the number `sequence` (0: the newest), the newest first.

    What a slow transaction wrote may come in between later. A reader that may miss nothing asks `after`.
    """
    wanted = and_(_below(below), change.c.kind.in_(kinds) if kinds else true())
    wanted = and_(wanted, change.c.what.in_(whats)) if whats else wanted
    order = _order(below)
    wanted = and_(wanted, order < sequence) if sequence else wanted
    query = select(*_COLUMNS).where(wanted).order_by(order.desc()).limit(most)
    return [_change(row, Cursor()) for row in connection.execute(query).mappings()]


def newest(connection: Connection) -> Cursor:
    """Behind all that there is now."""
    if connection.dialect.name == "postgresql":
        return Cursor(since=_current(connection))
    # not max(sequence): the newest may have been forgotten
    query = text("SELECT seq FROM sqlite_sequence WHERE name = 'change'")
    return Cursor(sequence=connection.execute(query).scalar() or 0)


def _after_snapshot(
    connection: Connection, cursor: Cursor, wanted: ColumnElement[bool], order: ColumnElement[int], most: int
) -> Page:
    now = _current(connection)
    if any(one and _xmax(one) > _xmax(now) for one in (cursor.since, cursor.upto)):
        raise NotACursor(str(cursor))
    upto, fresh = cursor.upto or now, _visible(cursor.upto or now)
    at_least = order > cursor.sequence
    if cursor.since:
        fresh = and_(fresh, ~_visible(cursor.since))
        if not cursor.sequence:  # where the batch begins; added to 0, so that it is found through the transactions
            newer = and_(change.c.xid >= int(cursor.since.partition(":")[0]), fresh)
            first = connection.execute(select(func.min(change.c.sequence + 0)).where(newer)).scalar()
            if first is None:
                return _end_of_batch(cursor, upto, now, [])
            at_least = order >= first
    found = _read(connection, Cursor(cursor.since, upto), and_(wanted, at_least, fresh), order, most)
    if len(found) == most:
        return Page(found, found[-1].cursor, True)
    return _end_of_batch(cursor, upto, now, found)


def _end_of_batch(cursor: Cursor, upto: str, now: str, found: list[Change]) -> Page:
    """A batch that was begun earlier may have news behind it."""
    return Page(found, Cursor(since=upto), bool(cursor.upto) and upto != now)


def _read(
    connection: Connection, batch: Cursor, wanted: ColumnElement[bool], order: ColumnElement[int], most: int
) -> list[Change]:
    query = select(*_COLUMNS).where(wanted).order_by(order).limit(most)
    return [_change(row, batch) for row in connection.execute(query).mappings()]


def _change(row: Any, batch: Cursor) -> Change:
    values = dict(row)
    return Change(Cursor(batch.since, batch.upto, values.pop("sequence")), **values)


def _below(key: str) -> ColumnElement[bool]:
    """What `key` and all in it changed. A workspace's changes are found by their scope, others by their own id."""
    if not key:
        return true()
    scope = change.c.scope
    if scope_of(key) != key:
        return _within(change.c.resource_id, key)
    if "/providers/" in key:
        return scope == key
    return _within(scope + "", key)  # most of all that there is: read in order, not through the index


def _order(below: str) -> ColumnElement[int]:
    """The sequence; where one resource is asked for so that its few changes are looked up, and not all gone through."""
    return change.c.sequence if scope_of(below) == below else change.c.sequence + 0


def _within(column: ColumnElement[str], key: str) -> ColumnElement[bool]:
    return or_(column == key, and_(column > f"{key}/", column < f"{key}0"))  # '0' follows '/'


def _visible(snapshot: str) -> ColumnElement[bool]:
    """Whether the transaction of a row had committed in `snapshot`."""
    xid, seen = cast(change.c.xid, String).op("::")(text("xid8")), literal(snapshot).op("::")(text("pg_snapshot"))
    return func.pg_visible_in_snapshot(xid, seen)


def _current(connection: Connection) -> str:
    """What is visible now. Each statement that follows sees at least that."""
    return connection.execute(text("SELECT CAST(pg_current_snapshot() AS text)")).scalar_one()


def _is_snapshot(written: str) -> bool:
    if not written:
        return True
    found = _SNAPSHOT.fullmatch(written)
    if found is None:
        return False
    low, high, between = int(found[1]), int(found[2]), [int(one) for one in found[3].split(",") if one]
    inside = all(low <= one < high for one in between) and between == sorted(set(between))
    return 0 < low <= high < 2**63 and inside


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


def restored(connection: Connection) -> None:
    """At a start: what a dump brought along has transactions of another server's counting; it is there for all."""
    if connection.dialect.name == "postgresql":
        ahead = cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), String), BigInteger)
        connection.execute(change.update().where(change.c.xid >= ahead).values(xid=0))
