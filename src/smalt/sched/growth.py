"""Clusters whose nodes a provider makes: how many there are to be, and which are to go.

Each of their nodes is a row of `node` and one of `allocation`, made together: one that was idle for too long loses the
second (`placement.release_idle`), and then the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete

from smalt.sched import placement, queue
from smalt.store import nodes
from smalt.store.database import exclusive
from smalt.store.document import part
from smalt.store.nodes import Machine
from smalt.store.resources import Row
from smalt.store.tables import allocation


def ray_of(row: Row | None) -> Mapping[str, Any]:
    """Where Ray has the nodes of this compute; empty: they are none of Ray's."""
    return part(part(row.properties, "properties"), "ray") if row is not None else {}


@dataclass(frozen=True)
class Resized:
    """`made`: new nodes with their tokens; `gone`: those that were given up; `next_at`: when the next one may be."""

    made: Mapping[str, str]
    gone: Sequence[Machine]
    next_at: float | None


def target(busy: int, waiting: int, least: int, most: int) -> int:
    """How many nodes there are to be: all that jobs have or wait for."""
    return max(least, min(busy + waiting, most))


def resize(
    connection: Connection, compute: str, name: str, least: int, most: int, idle_s: float, now: float, grow: bool
) -> Resized:
    """New nodes are called after `name`. `grow` False: none is made now."""
    exclusive(connection, compute)
    machines = nodes.of_compute(connection, compute)
    _forget_without_machine(connection, compute, machines)
    busy, _ = placement.counts(connection, compute)
    wanted = target(busy, queue.lacking(connection, compute), least, most)
    next_at = placement.release_idle(connection, compute, now, idle_s, wanted)
    held = {one.node for one in placement.nodes(connection, compute)}
    gone = [one for one in machines if one.number not in held]
    for one in gone:
        nodes.remove(connection, one.name)
    made: dict[str, str] = {}
    for _ in range(wanted - (len(machines) - len(gone)) if grow else 0):
        machine, token = nodes.add(connection, f"{name}-{secrets.token_hex(4)}", compute, {}, now, engine=nodes.RAY)
        made[machine.name] = token
        if machine.number not in held:
            connection.execute(
                allocation.insert().values(compute_id=compute, node=machine.number, owner=None, since=now)
            )
    return Resized(made, gone, next_at)


def _forget_without_machine(connection: Connection, compute: str, machines: Sequence[Machine]) -> None:
    """A machine that is lost was somebody's until that has ended."""
    mine = (allocation.c.compute_id == compute, allocation.c.owner.is_(None))
    connection.execute(delete(allocation).where(*mine, allocation.c.node.not_in([one.number for one in machines])))
