"""Machines for instances of deployments: each has a node of a cluster, among the jobs that wait for its nodes.

A node is the deployment's (a row of `allocation`) for as long as one of its instances is there. Unlike a job's nodes
they come one by one: what there is serves already. An instance that has to make room for its successor shares its node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, select, update

from smalt.sched import placement, queue
from smalt.sched.want import Want
from smalt.store import nodes as machines_
from smalt.store import resources
from smalt.store.database import exclusive
from smalt.store.nodes import Machine
from smalt.store.tables import allocation
from smalt.store.tables import queue as waiting_


def usable(machines: Collection[Machine], gpus: int, server: str) -> list[Machine]:
    """Those that can have instances now: `server`'s gateway finds them, and tells them what to run."""
    return [
        one for one in machines if one.connected and one.address and one.gpus >= gpus and one.server in ("", server)
    ]


def hold(
    connection: Connection, want: Want, names: Sequence[str], busy: Collection[str], server: str, now: float
) -> Mapping[str, str]:
    """Machines for those of `names` that get one now; the others wait. None gets one of `busy`."""
    exclusive(connection, want.compute)
    found = usable(machines_.of_compute(connection, want.compute), want.gpus, server)
    mine = _machines(connection, want.owner)
    have = [one.name for one in found if one.name in mine and one.name not in busy]
    given = dict(zip(names, have, strict=False))
    lacking = [name for name in names if name not in given]
    if not lacking:
        queue.leave(connection, want.owner, now)
        return given
    want = replace(want, nodes=len(lacking))
    before = _waits_for(connection, want.owner)
    place = queue.ensure(connection, want, now)
    given |= _more(connection, want, lacking, found, now)
    if len(given) == len(names):
        queue.serve(connection, want.owner, place)
        queue.wake_first(connection, want.compute, now)
    elif (left := len(names) - len(given)) != before:
        connection.execute(update(waiting_).where(waiting_.c.owner == want.owner).values(nodes=left))
        resources.poke(connection, [want.compute], now)  # it may have some made; and wakes who waits, so only for news
    return given


def _more(
    connection: Connection, want: Want, lacking: Sequence[str], found: Sequence[Machine], now: float
) -> dict[str, str]:
    ahead = queue.next_(connection, want.compute)
    if ahead is not None and ahead.owner != want.owner:
        return {}
    numbers = {one.number: one for one in found}
    held = placement.nodes(connection, want.compute)
    free = placement.available(held, want.most, numbers)[: len(lacking)]
    if len(free) < len(lacking):
        busy = [node for node in held if node.owner not in (None, want.owner) and node.node in numbers]
        placement.reclaim(connection, placement.victims(busy, len(lacking) - len(free)), now)
    if free:
        placement.give(connection, replace(want, nodes=len(free)), free, [()] * len(free), numbers, now)
    return {name: numbers[number].name for name, number in zip(lacking, free, strict=False)}


def keep(connection: Connection, owner: str, machines: Collection[str], now: float) -> None:
    """All others of its nodes are idle from now on: whoever waits for them is woken."""
    query = select(allocation.c.compute_id, allocation.c.node, allocation.c.machine)
    held = connection.execute(query.where(allocation.c.owner == owner, allocation.c.machine.is_not(None))).all()
    over = [row for row in held if row.machine not in machines]
    for compute in sorted({row.compute_id for row in over}):
        exclusive(connection, compute)
        given = [row.node for row in over if row.compute_id == compute]
        where = (allocation.c.compute_id == compute, allocation.c.owner == owner, allocation.c.node.in_(given))
        connection.execute(update(allocation).where(*where).values(owner=None, reclaimed=False, since=now))
        queue.wake_first(connection, compute, now)
        resources.poke(connection, [compute], now)


def _waits_for(connection: Connection, owner: str) -> int | None:
    return connection.execute(select(waiting_.c.nodes).where(waiting_.c.owner == owner)).scalar()


def _machines(connection: Connection, owner: str) -> set[str]:
    query = select(allocation.c.machine).where(allocation.c.owner == owner, allocation.c.machine.is_not(None))
    return set(connection.execute(query).scalars())
