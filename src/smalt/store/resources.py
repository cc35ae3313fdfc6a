"""Rows of the `resource` table: read and written. All of it takes the caller's connection. Lists: `store/pages.py`.

The rules that this keeps (`docs/architecture.md`, "Reconciling"): a write of the spec counts only on the generation
that it was decided on, raises it and makes the row due; a status is written key by key; a row that comes to an end
makes its waiters due in the same transaction. What the control loop does with rows is in `store/claims.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Select, String, and_, bindparam, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from smalt.store import changes, lineage, series
from smalt.store import children as child_counts
from smalt.store.changes import What
from smalt.store.document import Document
from smalt.store.quick import QuickSelect
from smalt.store.row import New, Row, read
from smalt.store.tables import resource, secret, shared_work, waiter


class Exists(Exception):
    """Another request created the row first."""


class Changed(Exception):
    """Another request wrote or removed the row since it was read: read it again, and decide again."""


@dataclass(frozen=True)
class ForUpdate:
    """How PostgreSQL is asked for a lock."""

    read: bool = False
    key_share: bool = False


class Lock(Enum):
    """What nobody else may do with a row until this transaction ends. SQLite has one writer, so it needs none of them.

    `WRITE`: write it; `REMOVE`: also make something below it; `BELOW`: remove it, which all who make something below it
    ask for together; `END`: bring it to its end, which all who want to wait for that ask for together.
    """

    WRITE = ForUpdate(key_share=True)  # FOR NO KEY UPDATE
    REMOVE = ForUpdate()  # FOR UPDATE
    BELOW = ForUpdate(read=True, key_share=True)  # FOR KEY SHARE
    END = ForUpdate(read=True)  # FOR SHARE


def get(connection: Connection, key: str, lock: Lock | None = None) -> Row | None:
    """The row; with `lock` (in a write transaction) it stays as it is read here until the transaction's end."""
    query = _GET[lock if connection.dialect.name == "postgresql" else None]
    found = query.rows(connection, {"key": key.lower()})
    return read(found[0]) if found else None


def get_many(connection: Connection, keys: Iterable[str], lock: Lock | None = None) -> dict[str, Row]:
    wanted = {key.lower() for key in keys}
    if not wanted:
        return {}
    query = select(resource).where(resource.c.id.in_(wanted)).order_by(resource.c.id)  # one order: no deadlocks
    return {row.id: row for row in map(read, connection.execute(_locked(connection, query, lock)))}


def _locked(connection: Connection, query: Select[Any], lock: Lock | None) -> Select[Any]:
    return query if lock is None or connection.dialect.name == "sqlite" else _with(query, lock)


def _with(query: Select[Any], lock: Lock) -> Select[Any]:
    return query.with_for_update(read=lock.value.read, key_share=lock.value.key_share)


_INSERT = resource.insert()
_ONE = select(resource).where(resource.c.id == bindparam("key", type_=String))
_GET = {None: QuickSelect(_ONE), **{lock: QuickSelect(_with(_ONE, lock)) for lock in Lock}}


def insert(connection: Connection, *, now: float, **new: Any) -> None:
    """One row, with the fields of `New`. Raises Exists."""
    insert_all(connection, [New(**new)], now)


def insert_own(
    connection: Connection,
    key: str,
    kind: str,
    name: str,
    now: float,
    state: str = "Updating",
    spec: Mapping[str, Any] | None = None,
    home: str = "",
) -> None:
    """A row of the platform's own, which no client addresses, due at once. `home` as in `New`. Raises Exists."""
    own = {"key": key, "written": key, "kind": kind, "parent": "", "name": name, "spec": spec or {}, "status": {}}
    insert(connection, now=now, state=state, by="smalt", due_at=now, home=home, **own)


def insert_all(connection: Connection, rows: Sequence[New], now: float) -> None:
    """Raises Exists."""
    if not rows:
        return
    try:
        connection.execute(_INSERT, [row.values(now) for row in rows])
    except IntegrityError as error:
        if "UNIQUE" not in str(error.orig).upper():
            raise
        raise Exists(rows[0].written) from error
    child_counts.added(connection, [row for row in rows if row.counted])
    changes.record_created(connection, rows, now)


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
    """A new generation of the spec. `due` wakes the reconciler. Raises Changed where `row` is not the newest."""
    values: Document = {
        "spec": json.dumps(spec),
        "generation": row.generation + 1,
        "state": state,
        "changed_at": now,
        "changed_by": by,
        "failures": 0,
        "lookup": lookup if lookup is not None else row.lookup,
        "archived": row.archived if archived is None else archived,
    }
    if status is not None:
        values["status"] = json.dumps(status)
    if due:
        values |= {"due_at": now, "ended_at": None}
    else:
        values["observed"] = row.generation + 1
    unchanged = and_(resource.c.id == row.id, resource.c.generation == row.generation)
    if connection.execute(update(resource).where(unchanged).values(values)).rowcount != 1:
        raise Changed(row.written)
    child_counts.changed(connection, row, state, not due and row.ended_at is not None, now)
    changes.record(
        connection,
        row.id,
        row.state,
        state,
        reason,
        now,
        what=What.UPDATED,
        kind=row.kind,
        generation=row.generation + 1,
        due=due,
    )


def describe(
    connection: Connection,
    row: Row,
    spec: Mapping[str, Any],
    *,
    archived: bool,
    now: float,
    by: str,
    state: str | None = None,
    status: Mapping[str, Any] | None = None,
    parent: str | None = None,
) -> None:
    """Write what only describes a resource (names, tags, …).

    No new generation, so a step that is under way keeps its result. `state`, `status` and `parent` are for rows
    without a reconciler's work.
    """
    values: Document = {"spec": json.dumps(spec), "archived": archived, "changed_at": now, "changed_by": by}
    given = {"state": state, "status": None if status is None else json.dumps(status), "parent": parent}
    values |= {name: value for name, value in given.items() if value is not None}
    connection.execute(update(resource).where(resource.c.id == row.id).values(values))
    changes.record(
        connection,
        row.id,
        row.state,
        state or row.state,
        "described",
        now,
        what=What.DESCRIBED,
        kind=row.kind,
        generation=row.generation,
    )


def mark_deleting(connection: Connection, row: Row, now: float, by: str) -> None:
    connection.execute(
        update(resource)
        .where(resource.c.id == row.id)
        .values(deleting=True, due_at=now, ended_at=None, state="Deleting", changed_at=now, changed_by=by, failures=0)
    )
    child_counts.changed(connection, row, "Deleting", False, now)
    changes.record(
        connection,
        row.id,
        row.state,
        "Deleting",
        "delete requested",
        now,
        what=What.DELETING,
        kind=row.kind,
        generation=row.generation,
        due=True,
    )


def undelete(connection: Connection, row: Row) -> None:
    """Take the mark of `mark_deleting` back, beside the apply of a step that says why: the row stays."""
    connection.execute(update(resource).where(resource.c.id == row.id).values(deleting=False))


def poke(connection: Connection, keys: Sequence[str], now: float) -> None:
    """Make rows due now, also those that are being worked on (they are looked at again)."""
    if keys:
        connection.execute(
            update(resource)
            .where(resource.c.id.in_([key.lower() for key in keys]))
            .where(or_(resource.c.due_at.is_(None), resource.c.due_at > now))
            .values(due_at=now)
        )


def settle_at(connection: Connection, key: str, home: str) -> None:
    """From now on this server steps the row (`store/servers.py`)."""
    connection.execute(update(resource).where(resource.c.id == key.lower()).values(home=home))


def settle_all_at(connection: Connection, kind: str, home: str) -> None:
    """As `settle_at`, for all rows of a kind."""
    connection.execute(update(resource).where(resource.c.kind == kind).values(home=home))


def reopen(connection: Connection, key: str, now: float) -> None:
    """Make a row due now that has ended: who waits for it waits for its next end."""
    connection.execute(update(resource).where(resource.c.id == key.lower()).values(ended_at=None))
    poke(connection, [key], now)


def remove(connection: Connection, row_id: str, now: float) -> None:
    """The row and what belongs to it is gone; whoever waited is made due."""
    wake_waiters(connection, row_id, now)
    connection.execute(delete(secret).where(secret.c.resource_id == row_id))
    connection.execute(delete(waiter).where(or_(waiter.c.id == row_id, waiter.c.on_id == row_id)))
    connection.execute(delete(shared_work).where(shared_work.c.job == row_id))
    found = get(connection, row_id)
    connection.execute(delete(resource).where(resource.c.id == row_id))
    child_counts.forget(connection, row_id)
    series.remove(connection, row_id)
    if found is not None:
        child_counts.changed(connection, found, None, True, now)
        lineage.removed(connection, found, now)
    changes.record(
        connection,
        row_id,
        "Deleting",
        "Deleted",
        "gone",
        now,
        what=What.DELETED,
        due=True,
        kind=found.kind if found else "",
        generation=found.generation if found else None,
    )


def wait_for(connection: Connection, key: str, on: Sequence[str], now: float) -> None:
    """`key` is made due when any of `on` comes to an end; at once if one has ended already."""
    for one in on:
        known = select(waiter.c.id).where(waiter.c.id == key, waiter.c.on_id == one)
        if connection.execute(known).first() is not None:
            continue  # it will be woken: who ends `one` sees it
        query = select(resource.c.id).where(resource.c.id == one, resource.c.ended_at.is_(None))
        if connection.execute(_locked(connection, query, Lock.END)).first() is None:
            poke(connection, [key], now)
        else:
            connection.execute(waiter.insert().values(id=key, on_id=one))


def waiters(connection: Connection, on: str) -> list[str]:
    """The ids of those that wait for `on`."""
    return [row.id for row in connection.execute(select(waiter.c.id).where(waiter.c.on_id == on))]


def wake_waiters(connection: Connection, on: str, now: float) -> list[str]:
    waiting = [row.id for row in connection.execute(select(waiter.c.id).where(waiter.c.on_id == on))]
    poke(connection, waiting, now)
    connection.execute(delete(waiter).where(waiter.c.on_id == on))
    return waiting


def children(connection: Connection, parent: str, kind: str = "") -> list[str]:
    """The ids of the rows below: all, what extends the resource too, or those of one kind."""
    query = select(resource.c.id).where(resource.c.parent == parent)
    return list(connection.execute(query.where(resource.c.kind == kind) if kind else query).scalars())


def remove_with_all_below(connection: Connection, row_id: str, now: float) -> None:
    """As `remove`, for what is only stored, also below."""
    for child in children(connection, row_id):
        remove_with_all_below(connection, child, now)
    remove(connection, row_id, now)


def children_to_delete(connection: Connection, parent: str, most: int) -> list[Row]:
    """Up to `most` of the rows below that are not being deleted yet, locked."""
    query = select(resource).where(resource.c.parent == parent, resource.c.deleting.is_(False)).limit(most)
    return [read(found) for found in connection.execute(_locked(connection, query, Lock.REMOVE))]


def last_deleted(connection: Connection, parent: str) -> str | None:
    """The newest of the rows below that are being deleted: they go oldest first."""
    query = select(resource.c.id).where(resource.c.parent == parent, resource.c.deleting.is_(True))
    return connection.execute(query.order_by(resource.c.created_at.desc()).limit(1)).scalar()


def keys_of_kind(connection: Connection, kind: str) -> list[str]:
    return [row.id for row in connection.execute(select(resource.c.id).where(resource.c.kind == kind))]


def by_lookup(connection: Connection, kind: str, lookup: str, most: int = 100) -> list[Row]:
    query = select(resource).where(resource.c.kind == kind, resource.c.lookup == lookup)
    return [read(found) for found in connection.execute(query.order_by(resource.c.created_at).limit(most))]


def merge_status(connection: Connection, key: str, patch: Mapping[str, Any]) -> None:
    """For what must be known in a transaction that is not the row's own apply (a container's newest version, …).

    Only the keys of `patch` are written; None removes one. A step that is under way keeps them: its
    apply writes what it changed.
    """
    query = select(resource.c.status).where(resource.c.id == key.lower())
    found = connection.execute(_locked(connection, query, Lock.WRITE)).first()
    if found is not None:
        status = merged(json.loads(found.status), patch)
        connection.execute(update(resource).where(resource.c.id == key.lower()).values(status=json.dumps(status)))


def merged(document: Document, patch: Mapping[str, Any]) -> Document:
    """`document` with the keys of `patch`; None removes one."""
    return {key: value for key, value in {**document, **patch}.items() if not (key in patch and value is None)}
