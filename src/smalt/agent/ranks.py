"""Several processes of one task, as the server asks for them: the ranks of a distributed job on one node."""

from __future__ import annotations

from dataclasses import dataclass, field

from smalt.agent.names import Ref


@dataclass(frozen=True)
class RankSpec:
    """One of them. All share the task's folder, its walls, its `/dev/shm` and its limits.

    - `log` receives what it says. `argv`: empty where it runs the task's command. `variables` go over the task's.
    - `serves`: it works for others, and is ended once all that do not have ended well.
    """

    log: Ref | None = None
    argv: list[str] = field(default_factory=list[str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    serves: bool = False


@dataclass(frozen=True)
class MpiSpec:
    """The ranks are started by one mpirun for all nodes of the job (`mpi.py`).

    - `node`: the number of this one. The first runs mpirun; the others run what it would run there through ssh.
    - `ports`: for each node, where it waits for that; `secret`: what it has to be told along with it.
    - `processes`: on each node. `addresses`: those of the nodes' machines; none: all nodes are this one.
    """

    node: int
    ports: list[int]
    processes: int
    secret: str
    addresses: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class RaySpec:
    """The node is one of a Ray cluster (`ray.py`): a rank with an `argv` of its own is its `ray start`.

    - `address`: where the cluster is met. `nodes`: how many have joined before the task's own command runs.
    """

    address: str
    nodes: int
