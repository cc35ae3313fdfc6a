"""Rows of the `resource` table: read, written, claimed and applied. All of it takes the caller's connection.

The rules that this keeps (`docs/architecture.md`, "Reconciling"): a write of the spec raises the generation and makes the row
due; a claim is one conditional UPDATE; an apply counts only where the lease still matches; a row that comes to an end makes
its waiters due in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, case, delete, func, or_, select, update
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.exc import IntegrityError

from smalt.store.tables import event, resource, secret, waiter

Document = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One resource. `spec` is what the user wants (and `smalt`, a key of ours), `status` what was found."""

    id: str
    written: str
    kind: str
    parent: str
    name: str
    spec: Document
    status: Document
    state: str
    generation: int
    observed: int
    archived: bool
    lookup: str | None
    deleting: bool
    due_at: float | None
    failures: int
    lease: str | None
    lease_until: float | None
    created_at: float
    changed_at: float
    created_by: str
    changed_by: str

    @property
    def properties(self) -> Document:
        return self.spec.get("properties") or {}


class Exists(Exception):
    """Another request created the row first."""


def _row(found: SqlRow[Any]) -> Row:
    values: Document = dict(zip(resource.c.keys(), found, strict=True))
    values["spec"] = json.loads(values["spec"])
    values["status"] = json.loads(values["status"])
    return Row(**values)


def get(connection: Connection, key: str) -> Row | None:
    found = connection.execute(select(resource).where(resource.c.id == key.lower())).first()
    return _row(found) if found else None


def get_many(connection: Connection, keys: Iterable[str]) -> dict[str, Row]:
    wanted = {key.lower() for key in keys}
    if not wanted:
        return {}
    rows = connection.execute(select(resource).where(resource.c.id.in_(wanted)))
    return {row.id: row for row in map(_row, rows)}


def insert(
    connection: Connection,
    *,
    key: str,
    written: str,
    kind: str,
    parent: str,
    name: str,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    state: str,
    now: float,
    by: str,
    due_at: float | None = None,
    lookup: str | None = None,
    archived: bool = False,
) -> None:
    """Raises Exists."""
    values = {
        "id": key, "written": written, "kind": kind, "parent": parent, "name": name, "spec": json.dumps(spec),
        "status": json.dumps(status), "state": state, "generation": 1, "observed": 0 if due_at is not None else 1,
        "archived": archived, "lookup": lookup, "deleting": False, "due_at": due_at, "failures": 0, "lease": None,
        "lease_until": None, "created_at": now, "changed_at": now, "created_by": by, "changed_by": by,
    }  # fmt: skip
    try:
        connection.execute(resource.insert().values(values))
    except IntegrityError as error:
        if "UNIQUE" not in str(error.orig).upper():
            raise
        raise Exists(written) from error
    record(connection, key, None, state, "created", now)


def replace_spec(
    connection: Connection,
    row: Row,
    spec: Mapping[str, Any],
    *,
    state: str,
    now: float,
    by: str,
    due: bool,
    lookup: str | None = None,
    archived: bool | None = None,
    status: Mapping[str, Any] | None = None,
    reason: str = "updated",
) -> None:
    """A new generation of the spec. `due` wakes the reconciler."""
    values: Document = {
        "spec": json.dumps(spec), "generation": row.generation + 1, "state": state, "changed_at": now, "changed_by": by,
        "failures": 0, "lookup": lookup if lookup is not None else row.lookup,
        "archived": row.archived if archived is None else archived,
    }  # fmt: skip
    if status is not None:
        values["status"] = json.dumps(status)
    if due:
        values["due_at"] = now
    else:
        values["observed"] = row.generation + 1
    connection.execute(update(resource).where(resource.c.id == row.id).values(values))
    if state != row.state:
        record(connection, row.id, row.state, state, reason, now)


def mark_deleting(connection: Connection, row: Row, now: float, by: str) -> None:
    connection.execute(
        update(resource)
        .where(resource.c.id == row.id)
        .values(deleting=True, due_at=now, state="Deleting", changed_at=now, changed_by=by, failures=0)
    )
    record(connection, row.id, row.state, "Deleting", "delete requested", now)


def poke(connection: Connection, keys: Sequence[str], now: float) -> None:
    """Make rows due now, also those that are being worked on (they are looked at again)."""
    if keys:
        connection.execute(
            update(resource)
            .where(resource.c.id.in_([key.lower() for key in keys]))
            .where(or_(resource.c.due_at.is_(None), resource.c.due_at > now))
            .values(due_at=now)
        )


def remove(connection: Connection, row_id: str, now: float) -> None:
    """The row and what belongs to it is gone; whoever waited is made due."""
    wake_waiters(connection, row_id, now)
    connection.execute(delete(secret).where(secret.c.resource_id == row_id))
    connection.execute(delete(waiter).where(or_(waiter.c.id == row_id, waiter.c.on_id == row_id)))
    connection.execute(delete(resource).where(resource.c.id == row_id))
    record(connection, row_id, "Deleting", "Deleted", "gone", now)


def record(connection: Connection, key: str, before: str | None, after: str, reason: str, now: float) -> None:
    connection.execute(event.insert().values(resource_id=key, at=now, before=before, after=after, reason=reason))


@dataclass(frozen=True)
class Event:
    at: float
    before: str | None
    after: str
    reason: str


def events(connection: Connection, key: str, most: int = 200) -> list[Event]:
    """The newest events of a resource, oldest first."""
    query = select(event).where(event.c.resource_id == key.lower()).order_by(event.c.seq.desc()).limit(most)
    return [Event(row.at, row.before, row.after, row.reason) for row in reversed(connection.execute(query).all())]


def wait_for(connection: Connection, key: str, on: Sequence[str], now: float | None = None) -> None:
    """`key` is made due when any of `on` comes to an end; at once (given `now`) if one has ended already."""
    for one in on:
        if now is not None:
            found = connection.execute(select(resource.c.due_at, resource.c.lease).where(resource.c.id == one)).first()
            if found is None or (found.due_at is None and found.lease is None):
                poke(connection, [key], now)
        exists = connection.execute(select(waiter.c.id).where(waiter.c.id == key, waiter.c.on_id == one)).first()
        if exists is None:
            connection.execute(waiter.insert().values(id=key, on_id=one))


def wake_waiters(connection: Connection, on: str, now: float) -> list[str]:
    waiting = [row.id for row in connection.execute(select(waiter.c.id).where(waiter.c.on_id == on))]
    poke(connection, waiting, now)
    connection.execute(delete(waiter).where(waiter.c.on_id == on))
    return waiting


def claim(connection: Connection, kinds: Sequence[str], now: float, lease: str, lease_s: float, most: int) -> list[Row]:
    """Up to `most` due rows, now leased under `lease`. A crash makes them due again when the lease is over."""
    free = or_(resource.c.lease.is_(None), resource.c.lease_until < now)
    due = (
        select(resource.c.id)
        .where(resource.c.due_at <= now, resource.c.kind.in_(kinds), free)
        .order_by(resource.c.due_at)
        .limit(most)
    )
    if connection.dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True)
    keys = [row.id for row in connection.execute(due)]
    if not keys:
        return []
    until = now + lease_s
    connection.execute(
        update(resource).where(resource.c.id.in_(keys), free).values(lease=lease, lease_until=until, due_at=until)
    )
    rows = connection.execute(select(resource).where(resource.c.id.in_(keys), resource.c.lease == lease))
    return [_row(found) for found in rows]


def lease_held(connection: Connection, row: Row) -> bool:
    found = connection.execute(select(resource.c.lease).where(resource.c.id == row.id)).first()
    return found is not None and found.lease == row.lease


def resume(connection: Connection, kinds: Sequence[str], now: float, take_leases: bool) -> None:
    """Make due at once whatever has a time to be looked at again: all that is not at its end has one.

    `take_leases` where no other loop works on this database; otherwise leases run out by themselves.
    """
    live = resource.c.due_at.is_not(None)
    connection.execute(
        update(resource)
        .where(resource.c.kind.in_(kinds), live)
        .values(due_at=now, **({"lease": None, "lease_until": None} if take_leases else {}))
    )


def next_due(connection: Connection, kinds: Sequence[str]) -> float | None:
    """When the next row is due that nobody works on. One that is poked meanwhile is due at the end of its step."""
    query = select(func.min(resource.c.due_at)).where(
        resource.c.due_at.is_not(None), resource.c.kind.in_(kinds), resource.c.lease.is_(None)
    )
    return connection.execute(query).scalar()


def extend(connection: Connection, row: Row, until: float) -> bool:
    """Keep the lease; False when it was lost."""
    moved = case((resource.c.due_at >= resource.c.lease_until, until), else_=resource.c.due_at)
    done = connection.execute(
        update(resource)
        .where(resource.c.id == row.id, resource.c.lease == row.lease)
        .values(lease_until=until, due_at=moved)
    )
    return done.rowcount == 1


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
) -> bool:
    """Write what a step found, if the lease is still ours; False means the result is stale and was dropped.

    `reason` is news to be recorded, also where the state stays.
    """
    same = resource.c.generation == row.generation
    poked = and_(resource.c.due_at.is_not(None), resource.c.due_at < resource.c.lease_until)
    keep = case((poked, resource.c.due_at), else_=due_at)
    done = connection.execute(
        update(resource)
        .where(resource.c.id == row.id, resource.c.lease == row.lease)
        .values(
            status=json.dumps(status),
            state=case((and_(same, resource.c.deleting == row.deleting), state), else_=resource.c.state),
            observed=row.generation,
            lease=None,
            lease_until=None,
            failures=failures,
            due_at=keep,
        )
    )
    if done.rowcount != 1:
        return False
    if state != row.state or reason:
        record(connection, row.id, row.state, state, reason, now)
    if ended:
        wake_waiters(connection, row.id, now)
    return True


@dataclass(frozen=True)
class Page:
    rows: list[Row]
    skip: str | None  # where the next page begins


def page(
    connection: Connection,
    kind: str,
    parent: str,
    *,
    most: int,
    skip: str | None = None,
    archived: bool | None = False,
    lookup: str | None = None,
    oldest_first: bool = False,
    prefix: str | None = None,
) -> Page:
    """One page, newest first unless asked otherwise; `archived` None means both. O(page), not O(all)."""
    query: Select[Any] = select(resource).where(resource.c.kind == kind)
    query = (
        query.where(resource.c.parent == parent)
        if prefix is None
        else query.where(resource.c.parent.startswith(prefix, autoescape=True))
    )
    if lookup is not None:
        query = query.where(resource.c.lookup == lookup)
    if skip:
        at, _, key = skip.partition("~")
        mark, column = float(at), resource.c.created_at
        if oldest_first:  # the first term alone is one that an index can begin at
            query = query.where(column >= mark, or_(column > mark, resource.c.id > key))
        else:
            query = query.where(column <= mark, or_(column < mark, resource.c.id < key))
    order = (
        (resource.c.created_at, resource.c.id) if oldest_first else (resource.c.created_at.desc(), resource.c.id.desc())
    )
    query = query.order_by(*order).limit(most + 1)
    rows = [  # each of them in the index's order: together they would be sorted, all of them
        _row(found)
        for one in ((False, True) if archived is None else (archived,))
        for found in connection.execute(query.where(resource.c.archived == one))
    ]
    if archived is None:
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=not oldest_first)
    if len(rows) <= most:
        return Page(rows, None)
    return Page(rows[:most], place_after(rows[most - 1]))


def place_after(row: Row) -> str:
    """Where the page behind this row begins."""
    return f"{row.created_at!r}~{row.id}"


def children(connection: Connection, parent: str) -> list[str]:
    return [row.id for row in connection.execute(select(resource.c.id).where(resource.c.parent == parent))]


def keys_of_kind(connection: Connection, kind: str) -> list[str]:
    return [row.id for row in connection.execute(select(resource.c.id).where(resource.c.kind == kind))]


def by_lookup(connection: Connection, kind: str, lookup: str, most: int = 100) -> list[Row]:
    query = select(resource).where(resource.c.kind == kind, resource.c.lookup == lookup)
    return [_row(found) for found in connection.execute(query.order_by(resource.c.created_at).limit(most))]


def set_status(connection: Connection, row_id: str, status: Mapping[str, Any]) -> None:
    """For what must be known in a transaction that is not the row's own apply (a container's newest version, …)."""
    connection.execute(update(resource).where(resource.c.id == row_id).values(status=json.dumps(status)))
