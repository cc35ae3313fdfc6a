"""Machines for instances of deployments: nodes of a cluster, which they have among the jobs that wait for them.

A node has one job, or instances: of one deployment or of several, as many as there is room for (`room.py`). An instance
is a row of `allocation` (the deployment is its compute, the instance's task its owner, `family` its size), and the node
a row as those of jobs are, whose owner is one of the deployments there. Unlike a job's nodes they come one by one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, select, update

from smalt.arm.ports import Capacity
from smalt.sched import placement, queue, room
from smalt.sched.room import Placed
from smalt.sched.want import Want
from smalt.store import nodes as machines_
from smalt.store import resources
from smalt.store.database import exclusive
from smalt.store.nodes import Machine
from smalt.store.tables import allocation
from smalt.store.tables import queue as waiting_

_WOKEN_MOST = 100  # of those who wait, who is looked at for deployments where room comes free


@dataclass(frozen=True)
class Instances:
    """`all_` of a deployment's revision, of a size, of which `lacking` have no machine yet.

    `cluster_size`: of the nodes of its cluster. `server`: whose gateway has to find them. `gone`: machines that are not
    heard of.
    """

    all_: Sequence[str]
    lacking: Sequence[str]
    size: str
    cluster_size: str
    server: str
    gone: Collection[str] = ()


def usable(machines: Collection[Machine], gpus: int, server: str) -> list[Machine]:
    """Those that can have instances now: `server`'s gateway finds them, and tells them what to run."""
    return [
        one for one in machines if one.connected and one.address and one.gpus >= gpus and one.server in ("", server)
    ]


def hold(connection: Connection, want: Want, asked: Instances, now: float) -> Mapping[str, str]:
    """Machines for those of `asked.lacking` that get one now, or had one already; the others wait.

    One without another of its revision is better than an idle one, and that better than one with another.
    """
    exclusive(connection, want.compute)
    found = usable(machines_.of_compute(connection, want.compute), want.gpus, asked.server)
    found = [one for one in found if one.name not in asked.gone]
    _leave_others(connection, want.owner, asked.lacking, [one.name for one in found])
    cluster = _Cluster(connection, want, asked, found, now)
    for name in cluster.waiting():
        cluster.share(name, beside_its_like=False)
    if not (rest := cluster.waiting()):
        queue.leave(connection, want.owner, now)
        return cluster.given
    want = replace(want, nodes=cluster.nodes_for(len(rest)))
    before, place = _waits_for(connection, want.owner), queue.ensure(connection, want, now)
    ahead = queue.next_(connection, want.compute)
    free = cluster.idle(len(rest)) if ahead is None or ahead.owner == want.owner else []
    for name, number in zip(rest, free, strict=False):
        cluster.take(name, number)
    for name in cluster.waiting():
        cluster.share(name, beside_its_like=True)
    if left := len(cluster.waiting()):
        lack = cluster.nodes_for(left)
        if ahead is None or ahead.owner == want.owner:
            placement.reclaim(connection, placement.victims(cluster.busy(), lack), now)
        if lack != before:
            connection.execute(update(waiting_).where(waiting_.c.owner == want.owner).values(nodes=lack))
            resources.poke(connection, [want.compute], now)  # it may have some made; it wakes who waits: only for news
    elif free:
        queue.serve(connection, want.owner, place)
        queue.wake_first(connection, want.compute, now)
    else:
        queue.leave(connection, want.owner, now)
    return cluster.given


class _Cluster:
    """Its machines and what is on them, while some are given."""

    def __init__(
        self, connection: Connection, want: Want, asked: Instances, machines: Sequence[Machine], now: float
    ) -> None:
        self._connection, self._want, self._asked, self._now = connection, want, asked, now
        self._machines = {one.number: one for one in machines}
        nodes = select(allocation.c.machine, allocation.c.owner).where(allocation.c.compute_id == want.compute)
        self._owners = {row.machine: row.owner for row in connection.execute(nodes)}
        self._placed = _placed(connection, want.compute, [one.name for one in machines])
        mine = {one.name: one.machine for one in self._placed if one.deployment == want.owner}
        self.given = {name: mine[name] for name in asked.lacking if name in mine}

    def waiting(self) -> list[str]:
        return [name for name in self._asked.lacking if name not in self.given]

    def nodes_for(self, count: int) -> int:
        each = room.most_of_any(self._asked.size, list(self._machines.values()), self._asked.cluster_size)
        return -(-count // each)

    def share(self, name: str, beside_its_like: bool) -> None:
        """Of the nodes that have instances the first with room."""
        for _, machine in sorted(self._machines.items()):
            there = [one for one in self._placed if one.machine == machine.name]
            mine = [one.name for one in there if one.deployment == self._want.owner]
            owner = self._owners.get(machine.name)
            if owner is None or not (there or owner == self._want.owner):
                continue
            if not beside_its_like and any(one in self._asked.all_ for one in mine):
                continue
            leaving = [one for one in mine if one not in self._asked.all_]
            gpus = room.fits(self._asked.size, self._whole(machine), there, leaving)
            if gpus is not None:
                self._seat(name, machine, gpus)
                return

    def idle(self, most: int) -> list[int]:
        held = placement.nodes(self._connection, self._want.compute)
        return placement.available(held, self._want.most, self._machines)[:most]

    def busy(self) -> list[placement.Node]:
        held = placement.nodes(self._connection, self._want.compute)
        return [one for one in held if one.owner not in (None, self._want.owner) and one.node in self._machines]

    def take(self, name: str, number: int) -> None:
        """An idle node."""
        want = replace(self._want, nodes=1)
        placement.give(self._connection, want, [number], [()], self._machines, self._now)
        machine = self._machines[number]
        self._owners[machine.name] = want.owner
        gpus = room.fits(self._asked.size, self._whole(machine), ())
        assert gpus is not None, "it was given a machine with too few GPUs"
        self._seat(name, machine, gpus)

    def _whole(self, machine: Machine) -> Capacity:
        return room.whole(machine, self._asked.cluster_size)

    def _seat(self, name: str, machine: Machine, gpus: tuple[int, ...]) -> None:
        deployment = self._want.owner
        last = select(func.max(allocation.c.node)).where(allocation.c.compute_id == deployment)
        row = {
            "compute_id": deployment,
            "node": 1 + (self._connection.execute(last).scalar() or 0),
            "owner": name,
            "since": self._now,
            "machine": machine.name,
            "family": self._asked.size,
            "gpus": json.dumps(gpus) if gpus else None,
        }
        self._connection.execute(allocation.insert().values(row))
        self._placed.append(Placed(name, deployment, machine.name, self._asked.size, gpus))
        self.given[name] = machine.name


def keep(connection: Connection, owner: str, instances: Mapping[str, str], now: float) -> None:
    """`instances`: those that a deployment still has, with their machines. What others had is free from now on.

    A node that others share is theirs, one that nobody has is idle: whoever waits for it is woken.
    """
    concerned = _machines(connection, owner) - (set(instances.values()) - _left(connection, owner, instances))
    if not concerned:
        return
    nodes = select(allocation.c.compute_id).where(
        allocation.c.machine.in_(concerned), allocation.c.compute_id.contains("/computes/")
    )
    for compute in sorted(set(connection.execute(nodes).scalars())):
        exclusive(connection, compute)
    mine = (allocation.c.compute_id == owner, allocation.c.machine.is_not(None))
    connection.execute(delete(allocation).where(*mine, allocation.c.owner.not_in(list(instances))))
    query = select(allocation).where(
        allocation.c.machine.in_(concerned), allocation.c.compute_id.contains("/computes/")
    )
    for node in connection.execute(query).all():
        if node.owner == owner and node.machine not in instances.values():
            _hand_on(connection, node.compute_id, node.node, node.machine, now)
        waits = queue.first(connection, node.compute_id, _WOKEN_MOST)
        resources.poke(connection, [one.owner for one in waits if "/onlineendpoints/" in one.owner], now)
        queue.wake_first(connection, node.compute_id, now)
        resources.poke(connection, [node.compute_id], now)


def _hand_on(connection: Connection, compute: str, number: int, machine: str, now: float) -> None:
    others = _placed(connection, compute, [machine])
    here = (allocation.c.compute_id == compute, allocation.c.node == number)
    left = others[0].deployment if others else None
    connection.execute(update(allocation).where(*here).values(owner=left, reclaimed=False, since=now))


def gpus(connection: Connection, deployment: str) -> dict[str, tuple[int, ...]]:
    """Of its instances on machines, the indices of the GPUs that each has there."""
    query = select(allocation.c.owner, allocation.c.gpus).where(
        allocation.c.compute_id == deployment, allocation.c.machine.is_not(None)
    )
    return {row.owner: _indices(row.gpus) for row in connection.execute(query)}


def spare(connection: Connection, compute: str, machines: Collection[Machine], cluster_size: str) -> list[Capacity]:
    """What is left on each of the machines that have instances; those that have jobs have nothing for others."""
    placed = _placed(connection, compute, [one.name for one in machines])
    shared = {one.machine for one in placed}
    return [
        room.left(room.whole(one, cluster_size), [it for it in placed if it.machine == one.name])
        for one in machines
        if one.name in shared
    ]


def _left(connection: Connection, owner: str, instances: Mapping[str, str]) -> set[str]:
    """Machines of instances that it has no more."""
    mine = (allocation.c.compute_id == owner, allocation.c.machine.is_not(None))
    query = select(allocation.c.machine).where(*mine, allocation.c.owner.not_in(list(instances)))
    return set(connection.execute(query).scalars())


def _leave_others(connection: Connection, owner: str, names: Sequence[str], machines: Sequence[str]) -> None:
    """What is to have a machine anew has left the one that it had, unless that can have it."""
    mine = (allocation.c.compute_id == owner, allocation.c.machine.is_not(None), allocation.c.owner.in_(list(names)))
    connection.execute(delete(allocation).where(*mine, allocation.c.machine.not_in(list(machines))))


def _placed(connection: Connection, compute: str, machines: Sequence[str]) -> list[Placed]:
    query = select(allocation).where(allocation.c.machine.in_(list(machines)), allocation.c.compute_id != compute)
    return [
        Placed(row.owner, row.compute_id, row.machine, row.family or "", _indices(row.gpus))
        for row in connection.execute(query.order_by(allocation.c.compute_id, allocation.c.node))
    ]


def _indices(kept: str | None) -> tuple[int, ...]:
    return tuple(json.loads(kept or "[]"))


def _waits_for(connection: Connection, owner: str) -> int | None:
    return connection.execute(select(waiting_.c.nodes).where(waiting_.c.owner == owner)).scalar()


def _machines(connection: Connection, owner: str) -> set[str]:
    """Those that it has a part in, or that are its own."""
    mine = (allocation.c.owner == owner) | (allocation.c.compute_id == owner)
    query = select(allocation.c.machine).where(mine, allocation.c.machine.is_not(None))
    return set(connection.execute(query).scalars())
