"""The control loop's side of `resource` rows: claimed under a lease, kept while a step runs, and applied or dropped.

An apply is all or nothing. It counts where the lease is still the row's and nobody wrote the row meanwhile: a step
decided on the generation that it was given. What is dropped is as if the step had been killed before its apply, and
is done again. One step is not decided anew by a later write: the one that ends a resource (`final`), because what
it did cannot be taken back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Integer,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from smalt.store import changes, children, resources
from smalt.store.changes import What
from smalt.store.document import Document
from smalt.store.news import EVERYTHING, tell
from smalt.store.quick import QuickSelect
from smalt.store.resources import Lock, Row
from smalt.store.tables import resource

_NOW = bindparam("now", type_=Float)
_FREE = or_(resource.c.lease.is_(None), resource.c.lease_until < _NOW)
_THESE = resource.c.id.in_(bindparam("keys", expanding=True))
_MINE = bindparam("mine", type_=String)
_LEASED = and_(resource.c.id == bindparam("key", type_=String), resource.c.lease == _MINE)
_UNTIL = bindparam("until", type_=Float)
_LEASE = (
    update(resource)
    .where(_THESE, resource.c.due_at <= _NOW, _FREE)
    .values(lease=_MINE, lease_until=_UNTIL, due_at=_UNTIL)
    .returning(resource)
)
Others = tuple[str, ...]  # the other servers that live: what they have is theirs to step


@dataclass(frozen=True)
class Lane:
    """Which rows a group of workers takes: of these kinds, and being deleted, not being deleted, or both."""

    kinds: frozenset[str]
    deleting: bool | None = None

    def takes(self, row: Row) -> bool:
        return row.kind in self.kinds and self.deleting in (None, row.deleting)

    def of(self, query: Select[Any]) -> Select[Any]:
        """Only rows that it takes."""
        query = query.where(resource.c.kind.in_(sorted(self.kinds)))
        return query if self.deleting is None else query.where(resource.c.deleting == self.deleting)


def due(connection: Connection, lane: Lane, now: float, most: int, others: Others = ()) -> list[str]:
    """Ids of up to `most` rows that are due and free, those that wait longest first."""
    return [key for (key,) in _due(lane, others).rows(connection, {"now": now, "most": most})]


@lru_cache(64)
def _due(lane: Lane, others: Others) -> QuickSelect:
    """Asked for after every change: built once."""
    query = lane.of(select(resource.c.id).where(resource.c.due_at <= _NOW, _FREE, *_mine(others)))
    return QuickSelect(query.order_by(resource.c.due_at).limit(bindparam("most", type_=Integer)))


@lru_cache(64)
def _claimable(others: Others) -> Select[Any]:
    query = select(resource.c.id).where(_THESE, resource.c.due_at <= _NOW, _FREE, *_mine(others))
    return query.with_for_update(skip_locked=True)


def _mine(others: Others) -> list[ColumnElement[bool]]:
    return [or_(resource.c.home.is_(None), resource.c.home.not_in(others))] if others else []


def claim(
    connection: Connection, keys: Sequence[str], now: float, lease: str, lease_s: float, others: Others = ()
) -> list[Row]:
    """Those of the rows that are still due and free, now leased under `lease`.

    A crash makes them due again when it is over.
    """
    if connection.dialect.name == "postgresql":
        keys = list(connection.execute(_claimable(others), {"keys": keys, "now": now}).scalars())
    values = {"keys": keys, "now": now, "mine": lease, "until": now + lease_s}
    return [resources.read(found) for found in connection.execute(_LEASE, values)]


def extend(connection: Connection, row: Row, until: float) -> bool:
    """Keep the lease; False when it was lost."""
    moved = case((resource.c.due_at >= resource.c.lease_until, until), else_=resource.c.due_at)
    done = connection.execute(
        update(resource)
        .where(resource.c.id == row.id, resource.c.lease == row.lease)
        .values(lease_until=until, due_at=moved)
    )
    return done.rowcount == 1


def held(connection: Connection, row: Row) -> Row | None:
    """The row as it is now, locked, if the lease is still this one's; None: somebody else has it, or it is gone."""
    current = resources.get(connection, row.id, Lock.REMOVE if row.deleting else Lock.WRITE)
    return current if current is not None and current.lease == row.lease else None


def apply(
    connection: Connection,
    row: Row,
    *,
    status: Mapping[str, Any],
    state: str,
    due_at: float | None,
    failures: int,
    now: float,
    reason: str,
    ended: bool,
    final: bool = False,
    lease_s: float = 0,
    home: str | None = None,
) -> bool:
    """Write what a step found on `row`, as claimed; False: it was dropped.

    Of `status` what the step changed is written, and what others wrote meanwhile (`resources.merge_status`) stays.
    `reason` is news to be recorded, also where the state stays. `ended`: the row's waiters are made due. With
    `lease_s` it stays leased, for so long from now.
    """
    current = held(connection, row)
    if current is None:
        return False
    kept = _poked(current)
    if current.deleting != row.deleting or (current.generation != row.generation and not final):
        _release(connection, row, {"due_at": now if kept is None else kept})
        return False
    due = min((at for at in (due_at, kept) if at is not None), default=None)
    still = {"lease": row.lease, "lease_until": now + lease_s, "due_at": now + lease_s}
    _release(
        connection,
        row,
        {
            "status": json.dumps(_merged(row.status, status, current.status)),
            "state": state,
            "observed": row.generation,
            "failures": failures,
            "due_at": due,
            "ended_at": now if ended else None,
            **(still if lease_s else {}),
            **({} if home is None else {"home": home or None}),
        },
    )
    if home:
        tell(connection, row.id, due=True)  # it may be another server's to go on
    children.changed(connection, current, state, ended, now)
    if state != current.state or reason:
        changes.record(
            connection,
            row.id,
            current.state,
            state,
            reason,
            now,
            what=What.STATE,
            kind=row.kind,
            generation=row.generation,
            due=ended,
        )
    if ended:
        resources.wake_waiters(connection, row.id, now)
    return True


def _poked(current: Row) -> float | None:
    """When somebody asked for another look while the step ran."""
    due, until = current.due_at, current.lease_until
    return due if due is not None and until is not None and due < until else None


def _merged(claimed: Document, found: Mapping[str, Any], current: Document) -> Document:
    """`current` with what the step changed between `claimed` and `found`."""
    patch = {key: value for key, value in found.items() if key not in claimed or claimed[key] != value}
    gone = {key: None for key in claimed if key not in found}
    return resources.merged(current, {**patch, **gone}) if patch or gone else current


def _release(connection: Connection, row: Row, values: Document) -> None:
    written = {"lease": None, "lease_until": None, **values}
    given = {f"new_{name}": value for name, value in written.items()}
    connection.execute(_write_of(frozenset(written)), {"key": row.id, "mine": row.lease, **given})


@lru_cache(64)
def _write_of(columns: frozenset[str]) -> Update:
    """After each step: built once for these columns."""
    values = {name: bindparam(f"new_{name}", type_=resource.c[name].type) for name in sorted(columns)}
    return update(resource).where(_LEASED).values(values)


def resume(connection: Connection, kinds: Sequence[str], now: float, me: str) -> None:
    """Make due at once whatever has a time to be looked at again: all that is not at its end has one.

    What this server (`me`) had leased is free: its loop of then is gone. Empty: no other loop works on this database.
    """
    there = (resource.c.kind.in_(kinds), resource.c.due_at.is_not(None))
    ours = [or_(resource.c.home.is_(None), resource.c.home == me)] if me else []
    leased = [resource.c.lease.startswith(lease_of(me), autoescape=True)] if me else []
    connection.execute(update(resource).where(*there, *ours).values(due_at=now))
    connection.execute(update(resource).where(*there, *leased).values(due_at=now, lease=None, lease_until=None))


def lease_of(me: str) -> str:
    """How the leases of a server begin."""
    return f"{me}." if me else ""


def shift(connection: Connection, kinds: Sequence[str], by: float) -> None:
    """The clock was set: all that waits goes on to wait as long as it would have."""
    connection.execute(
        update(resource)
        .where(resource.c.kind.in_(kinds), resource.c.due_at.is_not(None))
        .values(due_at=resource.c.due_at + by, lease_until=resource.c.lease_until + by)
    )


def look_again(connection: Connection, kinds: Sequence[str], now: float) -> None:
    """Whatever waits for a time is made due at once, also what is being worked on."""
    if kinds:
        live = resource.c.due_at.is_not(None)
        connection.execute(update(resource).where(resource.c.kind.in_(kinds), live).values(due_at=now))
        tell(connection, EVERYTHING, due=True)


def next_due(connection: Connection, lane: Lane, others: Others = ()) -> float | None:
    """When the next row is due that nobody works on. One that is poked meanwhile is due at the end of its step."""
    ((due,),) = _next_due(lane, others).rows(connection, {})
    return due


@lru_cache(64)
def _next_due(lane: Lane, others: Others) -> QuickSelect:
    waits = resource.c.due_at.is_not(None), resource.c.lease.is_(None)
    return QuickSelect(lane.of(select(func.min(resource.c.due_at)).where(*waits, *_mine(others))))
