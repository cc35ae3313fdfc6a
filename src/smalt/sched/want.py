"""What is asked of the scheduler, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

PRIORITIES = (1, 2, 3)  # Azure's low, medium, high
MEDIUM = 2
_DEDICATED = PRIORITIES[-1]  # above the ranks of all who are preemptible


@dataclass(frozen=True)
class Want:
    """So many nodes of a compute for an owner (a resource's id), all at once.

    `most`: how many nodes the compute has at most; `gpus`: of each node; `ports`: each node gets a block of ports;
    `preemptible`: its nodes are taken back where one that is not waits for them. `elsewhere`: its nodes are machines of
    their own, also while there are none. `share`: an experiment, whose jobs take turns with those of others. `limit_s`:
    it ends so long after its start, 0: nobody knows. `family` and `cores` of a node's size are what quotas count.
    """

    compute: str
    owner: str
    nodes: int
    most: int
    submitted_at: float
    gpus: int = 0
    ports: bool = False
    priority: int = MEDIUM
    preemptible: bool = False
    elsewhere: bool = False
    share: str = ""
    limit_s: float = 0.0
    family: str = ""
    cores: int = 0

    @property
    def rank(self) -> int:
        """Who is preemptible waits behind all who are not: else it would take what was taken back from it."""
        return self.priority + (0 if self.preemptible else _DEDICATED)

    @property
    def workspace(self) -> str:
        """The key of the compute's."""
        return workspace_of(self.compute)


def workspace_of(compute: str) -> str:
    return compute.rpartition("/computes/")[0]


def is_preemptible(rank: int) -> bool:
    return rank <= _DEDICATED


def priority_of(rank: int) -> int:
    return rank if is_preemptible(rank) else rank - _DEDICATED


@dataclass(frozen=True)
class Given:
    """One node: its number in its compute; the GPUs that its owner alone has there; the first of its block of ports.

    `machine`: which it is, where it is one of its own; empty: a share of the server's. `address`: where that is found.
    """

    node: int
    gpus: tuple[int, ...] = ()
    port: int | None = None
    machine: str = ""
    address: str = ""
