"""The feed: what happened to resources, who did it, and when; written with the rows, read in the order of commits.

Each change is one row of `change`, written in the transaction that makes it so; how it is read stands in
`store/feed.py`. Who waits for changes is told by the transaction, too: in this process when it has committed
(`Database.follow`), in others through PostgreSQL's NOTIFY (`store/listener.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, and_, delete, or_, select, text

from smalt.store import author
from smalt.store.document import Document
from smalt.store.news import CHANNEL, told
from smalt.store.row import New
from smalt.store.tables import change

KEPT_S = 30 * 24 * 3600.0  # what the platform, and what runs on it, did
AUDIT_KEPT_S = 365 * 24 * 3600.0  # what people did, what was refused, who signed in, who read a secret


class What(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DESCRIBED = "described"
    STATE = "state"
    DELETING = "deleting"
    DELETED = "deleted"
    REFUSED = "refused"
    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SECRET_READ = "secret_read"
    CONNECTED = "connected"


AUDITED = frozenset((What.REFUSED, What.SIGNED_IN, What.SIGN_IN_REFUSED, What.SECRET_READ, What.CONNECTED))
_HOME = re.compile(
    r"(/subscriptions/[^/]+(?:/resourcegroups/[^/]+)?)"
    r"(/providers/microsoft\.machinelearningservices/(?:workspaces|registries)/[^/]+)?(?:/|$)"
)
_COLUMNS = [one.name for one in change.columns if one.name not in ("sequence", "xid")]
_QUOTED = ", ".join(f'"{one}"' for one in _COLUMNS)
_INSERT = change.insert()
_INSERT_AND_NOTIFY = text(
    f"WITH noted AS (INSERT INTO change ({_QUOTED}, xid)"
    f" VALUES ({', '.join(f':{one}' for one in _COLUMNS)}, CAST(CAST(pg_current_xact_id() AS text) AS bigint)))"
    f" SELECT pg_notify('{CHANNEL}', :payload)"
)


@dataclass(frozen=True)
class Event:
    """A change of state, or a stage in between, of one resource."""

    at: float
    before: str | None
    after: str
    reason: str


def scope_of(key: str) -> str:
    """The workspace that a resource (its lowered id) is in, else the group or subscription; '' for what is in none."""
    found = _HOME.match(key)
    return (found[1] + (found[2] or "")) if found else ""


def record(
    connection: Connection,
    key: str,
    before: str | None,
    after: str | None,
    reason: str,
    now: float,
    *,
    what: What,
    kind: str,
    generation: int | None = None,
    due: bool = False,
) -> None:
    """A change of the resource `key`, by whom this thread works for. `due`: the control loop has something to do."""
    values = _values(key, before, after, reason, now, what, kind, generation)
    _write(connection, [values], [told(connection, key, due)])


def record_created(connection: Connection, rows: Sequence[New], now: float) -> None:
    """Many new resources at once."""
    values = [_values(row.key, None, row.state, "created", now, What.CREATED, row.kind, 1) for row in rows]
    _write(connection, values, [told(connection, row.key, row.due_at is not None) for row in rows])


def _values(
    key: str,
    before: str | None,
    after: str | None,
    reason: str,
    now: float,
    what: What,
    kind: str,
    generation: int | None,
) -> Document:
    by = author.current()
    kept_s = AUDIT_KEPT_S if what in AUDITED or by.answerable else KEPT_S
    return {
        "at": now,
        "scope": scope_of(key),
        "kind": kind,
        "resource_id": key,
        "generation": generation,
        "what": str(what),
        "before": before,
        "after": after,
        "reason": reason,
        "actor": by.name,
        "request_id": by.request_id,
        "expires_at": now + kept_s,
    }


def _write(connection: Connection, rows: list[Document], payloads: list[str | None]) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(_INSERT, rows)
        return
    noted = [{**row, "payload": payload} for row, payload in zip(rows, payloads, strict=True)]
    connection.execute(_INSERT_AND_NOTIFY, noted if len(noted) > 1 else noted[0])


def newest(connection: Connection, key: str, most: int = 200) -> list[Event]:
    """The newest changes of state of a resource, and stages in between, oldest first."""
    stages = or_(change.c.what == What.STATE, change.c.before.is_distinct_from(change.c.after))
    query = select(change.c.at, change.c.before, change.c.after, change.c.reason).where(
        change.c.resource_id == key.lower(), change.c.what.not_in(AUDITED), stages
    )
    found = connection.execute(query.order_by(change.c.sequence.desc()).limit(most)).all()
    return [Event(row.at, row.before, row.after, row.reason) for row in reversed(found)]


@dataclass(frozen=True)
class Write:
    """Somebody wrote the resource `key`, or made or deleted it."""

    at: float
    key: str
    what: str
    generation: int | None
    actor: str


def writes_below(connection: Connection, key: str, most: int) -> list[Write]:
    """The newest writes of what is below a resource, and of itself, newest first."""
    below = and_(change.c.resource_id > f"{key}/", change.c.resource_id < f"{key}0")  # '0' follows '/'
    query = select(change).where(
        or_(change.c.resource_id == key, below), change.c.what.in_((What.CREATED, What.UPDATED, What.DELETING))
    )
    found = connection.execute(query.order_by(change.c.sequence.desc()).limit(most)).all()
    return [Write(row.at, row.resource_id, row.what, row.generation, row.actor) for row in found]


def was(connection: Connection, key: str, state: str, since: float, before: int) -> bool:
    """Whether a resource came to a state from a time on, by a change that has a lower sequence than `before`."""
    query = select(change.c.sequence).where(
        change.c.resource_id == key, change.c.after == state, change.c.sequence < before, change.c.at >= since
    )
    return connection.execute(query.limit(1)).first() is not None


def forget(connection: Connection, now: float, most: int = 1000) -> int:
    """Remove up to `most` of the changes whose time is over; how many went."""
    over = select(change.c.sequence).where(change.c.expires_at < now).order_by(change.c.expires_at).limit(most)
    old: Sequence[int] = connection.execute(over).scalars().all()
    if old:
        connection.execute(delete(change).where(change.c.sequence.in_(old)))
    return len(old)
