"""The machines that are the nodes of clusters: one row each, made by the operator, filled in by the machine itself.

A machine shows a token that only it has; of that a hash is kept. Its number is that of its node in its cluster.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, String, bindparam, delete, select, update
from sqlalchemy.engine import Row as SqlRow

from smalt.store import node_environments
from smalt.store.database import exclusive
from smalt.store.news import tell
from smalt.store.quick import QuickSelect
from smalt.store.tables import node

REMOTE, RAY = "remote", "ray"  # who made it: an operator, or its cluster on Ray
NODES = "/smalt/nodes"  # who is hinted at when an operator has added or removed one
NEW, CONNECTED, SILENT = "New", "Connected", "Silent"
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Machine:
    """`gpus`, `cpus`, `memory_bytes`, `isolation` are 0 and empty until it has dialled in for the first time.

    `server`: the one that it dialled last (`store/servers.py`). `address`: where other machines find it (IPv4).
    """

    name: str
    engine: str
    compute: str  # lowered id
    number: int
    cpus: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    isolation: str = ""
    incarnation: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    state: str = NEW
    seen_at: float | None = None
    server: str = ""
    address: str = ""

    @property
    def connected(self) -> bool:
        return self.state == CONNECTED


def add(
    connection: Connection, name: str, compute: str, labels: Mapping[str, str], now: float, engine: str = REMOTE
) -> tuple[Machine, str]:
    """A new machine of a cluster, with the lowest number that is free there, and its token. ValueError: it exists."""
    exclusive(connection, compute)
    if get(connection, name) is not None:
        raise ValueError(f"there is a node '{name}' already")
    taken = {one.number for one in of_compute(connection, compute)}
    number = next(number for number in range(len(taken) + 1) if number not in taken)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    made = Machine(name, engine, compute, number, labels=labels)
    connection.execute(
        node.insert().values(
            name=name,
            engine=engine,
            compute_id=compute,
            number=number,
            token_hash=_hash(token),
            cpus=0,
            memory_bytes=0,
            gpus=0,
            isolation="",
            incarnation="",
            version="",
            labels=json.dumps(dict(labels)),
            state=NEW,
            seen_at=None,
            created_at=now,
        )
    )
    return made, token


def get(connection: Connection, name: str) -> Machine | None:
    return _one(connection.execute(select(node).where(node.c.name == name)).first())


def with_token(connection: Connection, token: str) -> Machine | None:
    return _one(connection.execute(select(node).where(node.c.token_hash == _hash(token))).first())


_ANY_OF = QuickSelect(select(node.c.name).where(node.c.compute_id == bindparam("compute", type_=String)).limit(1))


def of_compute(connection: Connection, compute: str) -> list[Machine]:
    """Asked for in each job's step, and mostly none."""
    if not _ANY_OF.rows(connection, {"compute": compute}):
        return []
    found = connection.execute(select(node).where(node.c.compute_id == compute).order_by(node.c.number))
    return [_machine(row) for row in found]


def every(connection: Connection) -> list[Machine]:
    return [_machine(row) for row in connection.execute(select(node).order_by(node.c.name))]


def note(connection: Connection, name: str, **values: Any) -> None:
    """What it said, or what became of it: columns of `node`."""
    connection.execute(update(node).where(node.c.name == name).values(**values))


def unseen(connection: Connection, before: float) -> list[str]:
    """Those that count as connected, though no server has seen them since `before`."""
    query = select(node.c.name).where(node.c.state == CONNECTED, node.c.seen_at < before)
    return list(connection.execute(query).scalars())


def silence(connection: Connection, name: str, before: float) -> list[str]:
    """One of `unseen` is silent, unless it was seen meanwhile; its compute then."""
    where = (node.c.name == name, node.c.state == CONNECTED, node.c.seen_at < before)
    changed = connection.execute(update(node).where(*where).values(state=SILENT).returning(node.c.compute_id))
    return list(changed.scalars())


def remove(connection: Connection, name: str) -> bool:
    """Its token opens nothing any more; whether there was one."""
    tell(connection, NODES)
    node_environments.forget(connection, name)
    return connection.execute(delete(node).where(node.c.name == name)).rowcount > 0


def _hash(token: str) -> str:
    """Without salt and in one round: a token is as random as the hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def _one(row: SqlRow[Any] | None) -> Machine | None:
    return None if row is None else _machine(row)


def _machine(row: SqlRow[Any]) -> Machine:
    return Machine(
        row.name,
        row.engine,
        row.compute_id,
        row.number,
        row.cpus,
        row.memory_bytes,
        row.gpus,
        row.isolation,
        row.incarnation,
        row.version,
        json.loads(row.labels),
        row.state,
        row.seen_at,
        row.server or "",
        row.address or "",
    )
