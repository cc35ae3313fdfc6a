"""Who gets which nodes, GPUs and ports: all that a job wants at once (gang), in the queue's order for each compute.

`available`, `victims` and `backfill.gap` are the pure decisions; the rest are their few rows (`allocation`,
`queue`), in the caller's transaction. Nodes are a compute's own; GPUs and ports the machine's. A compute whose nodes
are machines of their own (`store/nodes.py`) gives those that are connected, each as a whole; to one job only such as
find each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.engine import Row as SqlRow

from smalt.sched import ports, queue, quotas
from smalt.sched.backfill import SLACK_S, Gap, Held, gap
from smalt.sched.queue import Place, Waiting
from smalt.sched.want import Given, Want, workspace_of
from smalt.store import nodes as machines_
from smalt.store import resources
from smalt.store.database import exclusive
from smalt.store.nodes import Machine
from smalt.store.tables import allocation

GPUS = "gpus"  # what is locked where the machine's GPUs are given out
_LOOKED_AT = 100  # of those who wait, for whom to let past the first


@dataclass(frozen=True)
class Node:
    node: int
    owner: str | None
    since: float
    gpus: tuple[int, ...] = ()
    preemptible: bool = False
    until: float | None = None
    reclaimed: bool = False


def available(nodes: Sequence[Node], most: int, machines: Collection[int] | None = None) -> list[int]:
    """The numbers of all nodes that could be given now: idle ones first, then new ones up to `most`.

    `machines`: the numbers that can be had; None: all.
    """
    idle = [node.node for node in nodes if node.owner is None and (machines is None or node.node in machines)]
    taken = {node.node for node in nodes}
    new = [number for number in (range(most) if machines is None else sorted(machines)) if number not in taken]
    busy = sum(1 for node in nodes if node.owner is not None)
    return (idle + new)[: max(most - busy, 0)]


def victims(held: Iterable[Node], lack: int, size: Callable[[Node], int] = lambda node: 1) -> list[str]:
    """The owners that have to give way so that `lack` of what `size` counts come free: nodes, or their GPUs.

    The youngest first, who lose least. Empty where all together would not be enough: then nobody loses anything.
    """
    found: dict[str, tuple[float, int]] = {}
    for node in held:
        if node.owner is not None and node.preemptible:
            since, sum_ = found.get(node.owner, (node.since, 0))
            found[node.owner] = (max(since, node.since), sum_ + size(node))
    chosen: list[str] = []
    for owner, (_, frees) in sorted(found.items(), key=lambda one: -one[1][0]):
        if lack > 0 and frees:
            chosen.append(owner)
            lack -= frees
    return chosen if lack <= 0 else []


def nodes(connection: Connection, compute: str) -> list[Node]:
    query = select(allocation).where(allocation.c.compute_id == compute).order_by(allocation.c.node)
    return [_node(row) for row in connection.execute(query)]


def with_gpus(connection: Connection) -> list[Node]:
    """The nodes of all computes whose owners have GPUs of this machine."""
    query = select(allocation).where(allocation.c.gpus.is_not(None), allocation.c.machine.is_(None))
    return [_node(row) for row in connection.execute(query)]


def _node(row: SqlRow[tuple[object, ...]]) -> Node:
    gpus = tuple(json.loads(row.gpus)) if row.gpus else ()
    return Node(row.node, row.owner, row.since, gpus, row.preemptible, row.until, row.reclaimed)


def counts(connection: Connection, compute: str) -> tuple[int, int]:
    """(busy, idle)"""
    found = nodes(connection, compute)
    busy = sum(1 for node in found if node.owner)
    return busy, len(found) - busy


def acquire(connection: Connection, want: Want, machine_gpus: int, now: float) -> list[Given] | None:
    """What the owner has already, or gets now; None while it has to wait in the queue.

    Where preemptible owners hold what is missing, they are asked to give it back.
    """
    exclusive(connection, want.compute)
    if want.gpus:
        exclusive(connection, GPUS)
    if have := _held(connection, want):
        return have
    machines = _machines(connection, want)
    counted = bool(want.cores) and quotas.limits(connection, want.workspace, want.family)
    if given := _at_once(connection, want, machines, counted, now):
        return given
    place = queue.ensure(connection, want, now)
    may = _has_quota(connection, want, place, counted, now)
    chosen = _chosen(connection, want, machines, now) if may else None
    if chosen is None:
        if place.lacks_gpus:
            queue.note_lack_of_gpus(connection, want.owner, False)
            queue.wake_first_for_gpus(connection, now)  # it stood before others there
        return None
    gpus = _gpus(connection, want, machine_gpus, now) if machines is None else [_all_gpus(want)] * want.nodes
    if gpus is None:
        queue.note_lack_of_gpus(connection, want.owner, True)
        return None
    given = give(connection, want, chosen, gpus, machines or {}, now)
    queue.serve(connection, want.owner, place)
    queue.wake_first(connection, want.compute, now)
    if want.gpus:
        queue.wake_first_for_gpus(connection, now)
    if counted:
        queue.wake_first_for_quota(connection, want.workspace, want.family, now)
    return given


def _at_once(
    connection: Connection, want: Want, machines: Mapping[int, Machine] | None, counted: bool, now: float
) -> list[Given] | None:
    """Its nodes, where they are free and nobody waits there, as mostly: then it joins no queue."""
    if want.gpus or counted or queue.is_wanted(connection, want.compute):
        return None
    free = available(nodes(connection, want.compute), want.most, machines)
    if len(free) < want.nodes:
        return None
    return give(connection, want, free[: want.nodes], [()] * want.nodes, machines or {}, now)


def _chosen(connection: Connection, want: Want, machines: Mapping[int, Machine] | None, now: float) -> list[int] | None:
    """The nodes that it may have now; None: it waits. Whoever can use what is free meanwhile is woken."""
    found = nodes(connection, want.compute)
    free = available(found, want.most, machines)
    busy = [node for node in found if node.owner is not None and (machines is None or node.node in machines)]
    ahead = queue.next_(connection, want.compute)
    if ahead is None or ahead.owner == want.owner:
        if len(free) >= want.nodes:
            return free[: want.nodes]
        if not want.preemptible:
            reclaim(connection, victims(busy, want.nodes - len(free)), now)
        if ahead is not None:
            _wake_others(connection, want.compute, _gap(ahead, len(free), busy), now)
        return None
    beside = _gap(ahead, len(free), busy)
    fits = beside is not None and beside.takes(want.nodes, want.preemptible, want.limit_s, now)
    return free[: want.nodes] if fits else None


def _gap(ahead: Place, free: int, busy: Sequence[Node]) -> Gap | None:
    if ahead.lacks_gpus:
        return None
    held = [Held(node.until, node.preemptible) for node in busy]
    return gap(free, ahead.nodes, held, not ahead.preemptible)


def _wake_others(connection: Connection, compute: str, beside: Gap | None, now: float) -> None:
    """Those next in the queue who may go before the first: as many as there are free nodes for."""
    if beside is None:
        return
    chosen, free = list[str](), beside.free
    for one in queue.served(connection, compute, _LOOKED_AT)[1:]:
        if one.nodes <= free and beside.takes(one.nodes, one.preemptible, one.limit_s, now):
            chosen.append(one.owner)
            free -= one.nodes
    resources.poke(connection, chosen, now)


def _has_quota(connection: Connection, want: Want, place: Waiting, counted: bool, now: float) -> bool:
    """Whether the workspace may have its processors, too, and nobody waits for them since before."""
    lacks = False
    if counted:
        quotas.lock(connection, want.workspace)
        left = quotas.nodes_left(connection, want.workspace, want.family, want.cores)
        lacks = (left is not None and left < want.nodes) or not queue.is_first_for_quota(connection, want)
    if lacks is not place.lacks_quota:
        queue.note_lack_of_quota(connection, want.owner, lacks)
        if lacks:
            queue.wake_first(connection, want.compute, now)  # it stood before others there
        else:
            queue.wake_first_for_quota(connection, want.workspace, want.family, now)
    return not lacks


def _machines(connection: Connection, want: Want) -> Mapping[int, Machine] | None:
    """The machines that can be had, by their nodes' numbers; None where the compute's nodes are shares of this one."""
    found = machines_.of_compute(connection, want.compute)
    usable = [one for one in found if one.connected and one.gpus >= want.gpus]
    if want.nodes > 1:
        busy = (
            {node.node for node in nodes(connection, want.compute) if node.owner is not None} if usable else set[int]()
        )
        usable = together(usable, want.nodes, busy)
    return {one.number: one for one in usable} if found or want.elsewhere else None


def together(machines: Iterable[Machine], count: int = 1, busy: Collection[int] = ()) -> list[Machine]:
    """As many as find each other: one server tells them what to do, and all are in one network, or on one machine.

    Of several groups one of at least `count` machines, then the one with the most whose numbers are not `busy`.
    """
    groups: dict[tuple[str, bool], list[Machine]] = {}
    for one in machines:
        if one.address:
            groups.setdefault((one.server, ports.is_loopback(one.address)), []).append(one)

    def fitness(group: Sequence[Machine]) -> tuple[bool, int, int]:
        return len(group) >= count, sum(one.number not in busy for one in group), len(group)

    return max(groups.values(), key=fitness, default=list[Machine]())


def _all_gpus(want: Want) -> tuple[int, ...]:
    """On a machine that the owner has to itself they are counted from zero."""
    return tuple(range(want.gpus))


def _gpus(connection: Connection, want: Want, machine: int, now: float) -> list[tuple[int, ...]] | None:
    """For each node the indices of its GPUs; None while others have them, or wait for them since before."""
    if not want.gpus:
        return [()] * want.nodes
    free = free_gpus(connection, want, want.nodes, machine, now)
    if len(free) < want.gpus * want.nodes:
        return None
    return [tuple(free[rank * want.gpus : (rank + 1) * want.gpus]) for rank in range(want.nodes)]


def free_gpus(connection: Connection, want: Want, count: int, machine: int, now: float) -> list[int]:
    """Indices that may be given for `count` nodes; none while somebody waits for them since before.

    Where they are not enough, preemptible owners are asked to give theirs back.
    """
    if not queue.is_first_for_gpus(connection, want):
        return []
    held = with_gpus(connection)
    taken = {index for node in held for index in node.gpus}
    free = [index for index in range(machine) if index not in taken]
    lack = want.gpus * count - len(free)
    if lack > 0 and not want.preemptible:
        reclaim(connection, victims(held, lack, lambda node: len(node.gpus)), now)
    return free


def give(
    connection: Connection,
    want: Want,
    chosen: Sequence[int],
    gpus: Sequence[tuple[int, ...]],
    machines: Mapping[int, Machine],
    now: float,
) -> list[Given]:
    on = [machines.get(number) for number in chosen]
    names, addresses = [one.name if one else "" for one in on], [one.address if one else "" for one in on]
    firsts = ports.free_blocks(connection, addresses) if want.ports else [None] * want.nodes
    given = [Given(*one) for one in zip(chosen, gpus, firsts, names, addresses, strict=True)]
    for one in given:
        values = {
            "owner": want.owner,
            "since": now,
            "ports": one.port,
            "machine": one.machine or None,
            "gpus": json.dumps(one.gpus) if one.gpus and not one.machine else None,  # those of this machine
            "preemptible": want.preemptible,
            "reclaimed": False,
            "family": want.family or None,
            "cores": want.cores or None,
            "until": now + want.limit_s + SLACK_S if want.limit_s else None,
        }
        here = (allocation.c.compute_id == want.compute, allocation.c.node == one.node)
        free = connection.execute(update(allocation).where(*here, allocation.c.owner.is_(None)).values(values))
        if not free.rowcount:
            connection.execute(allocation.insert().values(compute_id=want.compute, node=one.node, **values))
    return given


def _held(connection: Connection, want: Want) -> list[Given]:
    query = select(allocation).where(allocation.c.owner == want.owner).order_by(allocation.c.node)
    known = {one.name: one.address for one in machines_.of_compute(connection, want.compute)}
    return [
        Given(
            row.node,
            _all_gpus(want) if row.machine else tuple(json.loads(row.gpus or "[]")),
            row.ports,
            row.machine or "",
            known.get(row.machine or "", ""),
        )
        for row in connection.execute(query)
    ]


def reclaim(connection: Connection, owners: Sequence[str], now: float) -> None:
    if owners:
        connection.execute(update(allocation).where(allocation.c.owner.in_(owners)).values(reclaimed=True))
        resources.poke(connection, owners, now)


def take_back(connection: Connection, compute: str, count: int, now: float) -> list[str]:
    """Ask the owners of `count` preemptible nodes for them, those who had them for the shortest time first; whom.

    As where somebody waits for them. Empty: there are not so many.
    """
    exclusive(connection, compute)
    owners = victims([node for node in nodes(connection, compute) if not node.reclaimed], count)
    reclaim(connection, owners, now)
    return owners


def reclaimed(connection: Connection, owner: str) -> bool:
    """Whether the owner is asked to give back what it has."""
    query = select(allocation.c.node).where(allocation.c.owner == owner, allocation.c.reclaimed).limit(1)
    return connection.execute(query).first() is not None


def release(connection: Connection, owner: str, now: float) -> None:
    """The owner needs no nodes any more: they are idle, and the next in the queue and the compute itself are woken."""
    mine = allocation.c.owner == owner
    held = connection.execute(select(allocation.c.compute_id, allocation.c.gpus, allocation.c.family).where(mine)).all()
    queued = queue.place_of(connection, owner)
    computes = sorted({row.compute_id for row in held} | ({queued.compute} if queued else set()))
    gpus = any(row.gpus for row in held) or (queued is not None and queued.lacks_gpus)
    for name in [*computes, GPUS] if gpus else computes:
        exclusive(connection, name)
    families = sorted({(workspace_of(row.compute_id), row.family) for row in held if row.family})
    counted = [one for one in families if quotas.limits(connection, *one)]
    for workspace in sorted({workspace for workspace, _ in counted}):
        quotas.lock(connection, workspace)
    connection.execute(
        update(allocation)
        .where(mine)
        .values(owner=None, ports=None, gpus=None, preemptible=False, reclaimed=False, since=now, until=None)
    )
    queue.leave(connection, owner, now)
    for compute in computes:
        queue.wake_first(connection, compute, now)
    if gpus:
        queue.wake_first_for_gpus(connection, now)
    for workspace, family in counted:
        queue.wake_first_for_quota(connection, workspace, family, now)
    resources.poke(connection, computes, now)


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


def computes(connection: Connection, prefix: str) -> list[str]:
    """Those that have nodes, whose keys begin so."""
    query = (
        select(allocation.c.compute_id).where(allocation.c.compute_id.startswith(prefix, autoescape=True)).distinct()
    )
    return sorted(connection.execute(query).scalars())
