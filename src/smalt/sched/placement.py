"""Who gets which nodes: strict order of submission for each compute, all nodes of a job at once (gang).

`place` is the pure decision; the rest are its few rows (`allocation`, `queue`), in the caller's transaction.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, select, update

from smalt.store import resources
from smalt.store.database import exclusive
from smalt.store.tables import allocation, queue

_PORTS = (20_000, 32_000)  # below those that Linux gives out by itself
PORTS_EACH = 8


@dataclass(frozen=True)
class Node:
    node: int
    owner: str | None
    since: float


def place(nodes: Sequence[Node], most: int, want: int, ahead: int) -> list[int] | None:
    """The numbers of the nodes that a job gets: idle ones first, then new ones up to `most`; None: it has to wait.

    `ahead` is how many jobs were submitted before it and still wait: they are served first.
    """
    if ahead:
        return None
    free = [node.node for node in nodes if node.owner is None]
    taken = {node.node for node in nodes}
    new = [number for number in range(most) if number not in taken]
    chosen = (free + new)[:want]
    if len(chosen) < want or len(nodes) - len(free) + want > most:
        return None
    return chosen


def nodes(connection: Connection, compute: str) -> list[Node]:
    query = select(allocation).where(allocation.c.compute_id == compute).order_by(allocation.c.node)
    return [Node(row.node, row.owner, row.since) for row in connection.execute(query)]


def counts(connection: Connection, compute: str) -> tuple[int, int]:
    """(busy, idle)"""
    found = nodes(connection, compute)
    busy = sum(1 for node in found if node.owner)
    return busy, len(found) - busy


def waiting(connection: Connection, compute: str) -> int:
    return connection.execute(select(func.count()).select_from(queue).where(queue.c.compute_id == compute)).scalar_one()


def acquire(
    connection: Connection, compute: str, owner: str, want: int, most: int, submitted_at: float, now: float
) -> list[int] | None:
    """The owner's nodes: those it has already, or new ones, or None while it has to wait in the queue."""
    exclusive(connection, compute)
    have = [node.node for node in nodes(connection, compute) if node.owner == owner]
    if have:
        return have
    if connection.execute(select(queue.c.owner).where(queue.c.owner == owner)).first() is None:
        connection.execute(queue.insert().values(owner=owner, compute_id=compute, nodes=want, since=submitted_at))
    ahead = connection.execute(
        select(func.count())
        .select_from(queue)
        .where(queue.c.compute_id == compute, queue.c.owner != owner)
        .where((queue.c.since < submitted_at) | ((queue.c.since == submitted_at) & (queue.c.owner < owner)))
    ).scalar_one()
    chosen = place(nodes(connection, compute), most, want, ahead)
    if chosen is None:
        return None
    for number in chosen:
        taken = connection.execute(
            update(allocation)
            .where(allocation.c.compute_id == compute, allocation.c.node == number, allocation.c.owner.is_(None))
            .values(owner=owner, since=now)
        )
        if not taken.rowcount:
            connection.execute(allocation.insert().values(compute_id=compute, node=number, owner=owner, since=now))
    connection.execute(delete(queue).where(queue.c.owner == owner))
    wake_first(connection, compute, now)
    return chosen


def assign_ports(connection: Connection, owner: str) -> list[int]:
    """The first port of a block of PORTS_EACH for each of the owner's nodes, which nobody else on this machine has."""
    exclusive(connection, "ports")
    mine = connection.execute(select(allocation).where(allocation.c.owner == owner).order_by(allocation.c.node)).all()
    used = set(connection.execute(select(allocation.c.ports).where(allocation.c.ports.is_not(None))).scalars())
    blocks = (port for port in range(*_PORTS, PORTS_EACH) if port not in used and _unused(port))
    found: list[int] = []
    for node in mine:
        port = node.ports if node.ports is not None else next(blocks, None)
        if port is None:
            raise RuntimeError("this machine has no ports left for jobs on several nodes")
        here = and_(allocation.c.compute_id == node.compute_id, allocation.c.node == node.node)
        connection.execute(update(allocation).where(here).values(ports=port))
        found.append(port)
    return found


def _unused(port: int) -> bool:
    """Whether nobody else listens there now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def release(connection: Connection, owner: str, now: float) -> None:
    """The owner needs no nodes any more: they are idle, and the next in the queue and the compute itself are woken."""
    held = connection.execute(select(allocation.c.compute_id).where(allocation.c.owner == owner)).scalars()
    queued = connection.execute(select(queue.c.compute_id).where(queue.c.owner == owner)).scalars()
    computes = sorted({*held, *queued})
    for compute in computes:
        exclusive(connection, compute)
    connection.execute(update(allocation).where(allocation.c.owner == owner).values(owner=None, ports=None, since=now))
    connection.execute(delete(queue).where(queue.c.owner == owner))
    for compute in computes:
        wake_first(connection, compute, now)
    resources.poke(connection, computes, now)


def wake_first(connection: Connection, compute: str, now: float) -> None:
    first = connection.execute(
        select(queue.c.owner).where(queue.c.compute_id == compute).order_by(queue.c.since, queue.c.owner).limit(1)
    ).scalar()
    if first:
        resources.poke(connection, [first], now)


def ensure_least(connection: Connection, compute: str, least: int, now: float) -> None:
    """A cluster with min_instances has so many nodes at any time."""
    exclusive(connection, compute)
    have = {node.node for node in nodes(connection, compute)}
    for number in [number for number in range(least + len(have)) if number not in have][: max(least - len(have), 0)]:
        connection.execute(allocation.insert().values(compute_id=compute, node=number, owner=None, since=now))


def release_idle(connection: Connection, compute: str, now: float, idle_s: float, least: int) -> float | None:
    """Give up nodes that were idle for `idle_s`, down to `least`; when the next one is due, or None."""
    exclusive(connection, compute)
    found = nodes(connection, compute)
    idle = sorted((node for node in found if node.owner is None), key=lambda node: node.since)
    spare = max(len(found) - least, 0)
    over = [node for node in idle if now - node.since >= idle_s][:spare]
    for node in over:
        connection.execute(delete(allocation).where(allocation.c.compute_id == compute, allocation.c.node == node.node))
    left = [node for node in idle if node not in over][: spare - len(over)]
    return min((node.since + idle_s for node in left), default=None)
