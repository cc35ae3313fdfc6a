"""What instances of deployments have of a machine that they share, and whether one more has room beside them.

Pure decisions. Each counts with what its size has, at most all of the machine; without a size, as an older version made
some, it has a machine to itself. Sums of processors and memory are no more than the machine's, and each GPU has one
owner.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from smalt.arm.ports import Capacity
from smalt.arm.scale import MOST
from smalt.sched.sizes import GIB, size_of
from smalt.store.nodes import RAY, Machine


@dataclass(frozen=True)
class Placed:
    """An instance on a machine, with the indices of the GPUs that it alone has there."""

    name: str
    deployment: str
    machine: str
    size: str
    gpus: tuple[int, ...] = ()


def size_capacity(size: str) -> Capacity | None:
    known = size_of(size)
    return Capacity(known.cpus, int(known.memory_gb * GIB), known.gpus) if known else None


def whole(machine: Machine, cluster_size: str) -> Capacity:
    """What a node has in all. One of Ray's has of its machine what Ray gave it: the size of its cluster."""
    given = size_capacity(cluster_size) if machine.engine == RAY else None
    cpus, memory = machine.cpus, machine.memory_bytes
    if given is not None:
        cpus, memory = min(cpus, given.cpus), min(memory, given.memory_bytes)
    return Capacity(cpus, memory, machine.gpus)


def asked(size: str, of: Capacity) -> Capacity:
    known = size_capacity(size)
    if known is None:
        return Capacity(max(of.cpus, 1), of.memory_bytes, 0)
    return Capacity(max(min(known.cpus, of.cpus), 1), min(known.memory_bytes, of.memory_bytes), known.gpus)


def left(of: Capacity, placed: Collection[Placed]) -> Capacity:
    """What is left beside those that are there; nothing of what they have too much."""
    asks = [asked(one.size, of) for one in placed]
    return Capacity(
        max(of.cpus - sum(one.cpus for one in asks), 0),
        max(of.memory_bytes - sum(one.memory_bytes for one in asks), 0),
        len(_free_gpus(of, placed)),
    )


def fits(size: str, of: Capacity, placed: Collection[Placed], leaving: Collection[str] = ()) -> tuple[int, ...] | None:
    """The GPUs that one more would have; None: there is no room. Those that are `leaving` hold GPUs alone."""
    need, staying = asked(size, of), [one for one in placed if one.name not in leaving]
    gpus = _free_gpus(of, placed)
    room = left(of, staying)
    if len(gpus) < need.gpus or (staying and (room.cpus < need.cpus or room.memory_bytes < need.memory_bytes)):
        return None
    return tuple(gpus[: need.gpus])


def most(size: str, of: Capacity) -> int:
    """How many of a size a node has room for; at least one."""
    need = asked(size, of)
    some = [of.cpus // need.cpus, MOST if not need.memory_bytes else of.memory_bytes // need.memory_bytes]
    if need.gpus:
        some.append(of.gpus // need.gpus)
    return max(min(some), 1)


def most_of_any(size: str, machines: Sequence[Machine], cluster_size: str) -> int:
    """How many of a size the best of these has room for; where none is known yet, one of the cluster's size."""
    known = [whole(one, cluster_size) for one in machines if one.seen_at is not None]
    given = size_capacity(cluster_size)
    return max((most(size, one) for one in known or ([given] if given else [])), default=1)


def _free_gpus(of: Capacity, placed: Collection[Placed]) -> list[int]:
    taken = {index for one in placed for index in one.gpus}
    return [index for index in range(of.gpus) if index not in taken]
