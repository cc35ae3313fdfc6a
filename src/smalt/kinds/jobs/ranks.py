"""What the nodes of a job run so that its processes find each other: ranks, logs, and the variables of each framework.

Names are those that Azure's jobs see: https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
Nodes that are shares of one machine meet on its loopback, others at the addresses that their machines have said. Each
has a block of ports of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smalt.agent.ranks import MpiSpec, RankSpec, RaySpec
from smalt.agent.wire import Ref
from smalt.arm.kind import Document
from smalt.kinds.jobs import distribution, ray
from smalt.kinds.jobs.distribution import MPI, PYTORCH, RAY, TENSORFLOW, Process
from smalt.store.document import part

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """What one of them runs. `variables` are those of all its processes."""

    command: str
    log: Ref
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    ranks: list[RankSpec] = field(default_factory=list[RankSpec])
    mpi: MpiSpec | None = None
    ray: RaySpec | None = None


@dataclass(frozen=True)
class Room:
    """What a node has by its size. Without one, all that its machine has: 0 and None."""

    cpus: int = 0
    gpus: int | None = None


WHOLE = Room()


def nodes(
    properties: Document,
    count: int,
    ports: Sequence[int],
    artifacts: Ref,
    secret: str,
    rooms: Sequence[Room] = (),
    addresses: Sequence[str] = (),
) -> list[Node]:
    """`ports`: the first of each node's block. `secret`: what the job's nodes know each other by.

    `rooms`, `addresses`: each node's; none: whole machines, all of them this one.
    """
    command, type_ = str(properties["command"]), distribution.type_of(properties)
    spread = distribution.layout(properties, count)
    total = sum(map(len, spread))
    logs = [[artifacts.below(distribution.log_name(one, total)) for one in processes] for processes in spread]
    if not distribution.has_peers(properties, count):
        return [Node(command, logs[0][0])]
    if type_ == RAY:
        return _ray(properties, ports[:count], artifacts, secret, rooms or [WHOLE] * count, addresses)
    hosts = addresses or [HOST] * count
    found: list[Node] = []
    for number, processes in enumerate(spread):
        common = _common(number, total, hosts[0], ports)
        if type_ == MPI:
            starts = artifacts.below(f"system_logs/mpi-node-{number}.log")
            mpi = MpiSpec(number, list(ports), len(processes), secret, list(addresses))
            found.append(Node(command, starts, common, [RankSpec(log) for log in logs[number]], mpi))
            continue
        own = [_own(type_, one, len(processes)) for one in processes]
        if type_ == TENSORFLOW:
            cluster = distribution.workers(spread, ports, hosts)
            own = [known | _tf_config(cluster, one) for known, one in zip(own, processes, strict=True)]
        if len(processes) == 1 and processes[0].role == "worker":
            found.append(Node(command, logs[number][0], common | own[0]))
            continue
        ranks = [
            RankSpec(log, variables=known, serves=one.role == "ps")
            for log, known, one in zip(logs[number], own, processes, strict=True)
        ]
        found.append(Node(command, logs[number][0], common, ranks))
    return found


def _common(node: int, processes: int, host: str, ports: Sequence[int]) -> dict[str, str]:
    """Of all processes of a node. `host`: the first node's address."""
    return {
        "NODE_RANK": str(node),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(ports[0]),
        "AZ_BATCH_MASTER_NODE": f"{host}:{ports[0]}",
        "AZ_BATCHAI_MPI_MASTER_NODE": host,
    }


def _own(type_: str, process: Process, here: int) -> dict[str, str]:
    found = {"RANK": str(process.rank), "LOCAL_RANK": str(process.local)}
    return found | ({"LOCAL_WORLD_SIZE": str(here)} if type_ == PYTORCH else {})


def _tf_config(cluster: Mapping[str, list[str]], process: Process) -> dict[str, str]:
    task = {"type": process.role, "index": process.index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task, "environment": "cloud"})}


def _ray(
    properties: Document,
    ports: Sequence[int],
    artifacts: Ref,
    token: str,
    rooms: Sequence[Room],
    addresses: Sequence[str],
) -> list[Node]:
    """Each is one of the cluster's. The first has the command beside it, which all others serve."""
    given, command, count = part(properties, "distribution"), str(properties["command"]), len(ports)
    ips = ray.ips(count, addresses)
    meet = f"{ips[0]}:{ports[0]}"
    log, spec = artifacts.below("user_logs/std_log.txt"), RaySpec(meet, count)
    found: list[Node] = []
    for number in range(count):
        common = _common(number, count, ips[0], ports) | ray.variables(meet, token)
        own = Process(number, number, 0)
        start = ray.start(given, meet, ips[number], ports[number], number, rooms[number].cpus, rooms[number].gpus)
        node = RankSpec(artifacts.below(f"system_logs/ray-node-{number}.log"), start, serves=True)
        ranks = [node] if number else [RankSpec(log), node]
        found.append(Node(command, log, common | _own(RAY, own, 1), ranks, ray=spec))
    return found
