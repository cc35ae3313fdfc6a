"""GPUs of instances of deployments: each instance has some of the machine's for itself, as each node of a job does.

What an instance has is a row of `allocation` (the deployment is its compute, the instance's task its owner). A
deployment that lacks some to come up, or has none at all, waits in the one line with jobs (`queue`), and its row is
woken as theirs are. What it lacks besides instances that serve it takes when it looks again: nobody waits behind that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, func, select

from smalt.arm.scale import MOST
from smalt.sched import placement, queue
from smalt.sched.sizes import size_of
from smalt.sched.want import Want
from smalt.store.database import exclusive
from smalt.store.tables import allocation


def most(size: str, machine_gpus: int) -> int:
    """How many instances of this size the machine has GPUs for; at least one."""
    known = size_of(size)
    return min(max(machine_gpus // known.gpus, 1), MOST) if known is not None and known.gpus else MOST


def hold(
    connection: Connection, want: Want, names: Sequence[str], machine_gpus: int, now: float, coming_up: bool
) -> Mapping[str, tuple[int, ...]]:
    """The indices of those of `names` that have theirs, or get them now: `want.gpus` each. The others wait.

    `coming_up`: all of them are needed before anything is served.
    """
    exclusive(connection, want.compute)
    exclusive(connection, placement.GPUS)
    held = _held(connection, want.compute)
    given = {name: held[name][1] for name in names if name in held}
    lacking = [name for name in names if name not in given]
    if not lacking:
        queue.leave(connection, want.owner, now)
        return given
    place = queue.ensure(connection, replace(want, nodes=len(lacking)), now)
    free = placement.free_gpus(connection, want, len(lacking), machine_gpus, now)
    last = select(func.max(allocation.c.node)).where(allocation.c.compute_id == want.compute)
    first = 1 + (connection.execute(last).scalar() or 0)
    for at, name in enumerate(lacking[: len(free) // want.gpus]):
        given[name] = tuple(free[at * want.gpus : (at + 1) * want.gpus])
        row = {"compute_id": want.compute, "node": first + at, "owner": name, "since": now}
        connection.execute(allocation.insert().values(**row, gpus=json.dumps(given[name])))
    if len(given) < len(names):
        lacks = coming_up or not (held or given)
        queue.note_lack_of_gpus(connection, want.owner, lacks)
        if place.lacks_gpus and not lacks:
            queue.wake_first_for_gpus(connection, now)  # it stood before others there
    else:
        queue.serve(connection, want.owner, place)
        queue.wake_first_for_gpus(connection, now)
    return given


def release(connection: Connection, compute: str, names: Collection[str], now: float) -> None:
    """These have ended: whoever waits for GPUs is woken."""
    here = (allocation.c.compute_id == compute, allocation.c.machine.is_(None))
    mine = (*here, allocation.c.owner.in_(list(names)))
    if connection.execute(select(allocation.c.node).where(*mine).limit(1)).first() is None:
        return
    exclusive(connection, placement.GPUS)
    connection.execute(delete(allocation).where(*mine))
    queue.wake_first_for_gpus(connection, now)


def _held(connection: Connection, compute: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    here = (allocation.c.compute_id == compute, allocation.c.machine.is_(None))
    query = select(allocation.c.owner, allocation.c.node, allocation.c.gpus).where(*here)
    return {row.owner: (row.node, tuple(json.loads(row.gpus))) for row in connection.execute(query)}
