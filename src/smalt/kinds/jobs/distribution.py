"""How a job is spread: how many processes on which nodes, what each is, and what of it a client gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, nearest
from smalt.kinds.jobs import ray
from smalt.sched.ports import PORTS_EACH
from smalt.store.document import part

PYTORCH, TENSORFLOW, MPI, RAY = "PyTorch", "TensorFlow", "Mpi", "Ray"
TYPES = (PYTORCH, TENSORFLOW, MPI, RAY)
WITH_SECRET = (MPI, RAY)  # their nodes do what anybody tells them who reaches them
PROCESSES_MOST = 256  # on a node
_FIELD = "properties.distribution"


class Distribution(Properties):
    distribution_type: str
    process_count_per_instance: int | None = Field(None, ge=1, le=PROCESSES_MOST)
    worker_count: int | None = Field(None, ge=1)
    parameter_server_count: int | None = Field(None, ge=0)
    port: int | None = Field(None, ge=0, le=65535)
    address: str | None = None
    include_dashboard: bool | None = None
    dashboard_port: int | None = Field(None, ge=0, le=65535)
    head_node_additional_args: str | None = None
    worker_node_additional_args: str | None = None


@dataclass(frozen=True)
class Process:
    """`rank` is its number among all of the job, `index` among those of its role: `worker` or `ps`."""

    rank: int
    index: int
    local: int
    role: str = "worker"


def node_count(properties: Document) -> int:
    return int(part(properties, "resources").get("instanceCount") or 1)


def type_of(properties: Document) -> str:
    """As Azure spells it; empty where there is none."""
    given = str(part(properties, "distribution").get("distributionType") or "")
    return {one.lower(): one for one in TYPES}.get(given.lower(), given)


def has_peers(properties: Document, nodes: int) -> bool:
    """Whether the job's processes look for each other."""
    return nodes > 1 or bool(type_of(properties))


def each_node(properties: Document) -> int:
    """How many processes a node has, where all have as many."""
    return int(part(properties, "distribution").get("processCountPerInstance") or 1)


def layout(properties: Document, nodes: int) -> list[list[Process]]:
    """For each node its processes, in the order of their local ranks."""
    type_ = type_of(properties)
    if type_ == TENSORFLOW:
        return _roles(*_counts(properties, nodes), nodes)
    count = each_node(properties) if type_ in (PYTORCH, MPI) else 1
    return [
        [Process(node * count + local, node * count + local, local) for local in range(count)] for node in range(nodes)
    ]


def _counts(properties: Document, nodes: int) -> tuple[int, int]:
    """Workers and parameter servers of a TensorFlow job."""
    given = part(properties, "distribution")
    return int(given.get("workerCount") or nodes), int(given.get("parameterServerCount") or 0)


def _roles(workers: int, servers: int, nodes: int) -> list[list[Process]]:
    """Dealt out to the nodes in turn: the workers, then the parameter servers."""
    found: list[list[Process]] = [[] for _ in range(nodes)]
    for rank in range(workers + servers):
        of, here = rank - workers, found[rank % nodes]
        here.append(Process(rank, rank, len(here)) if of < 0 else Process(rank, of, len(here), "ps"))
    return found


def check(platform: Platform, properties: Document, elsewhere: bool = False) -> None:
    """Raises ArmError(400) for what cannot be spread as it says. `elsewhere`: over machines of their own."""
    given, type_, nodes = part(properties, "distribution"), type_of(properties), node_count(properties)
    if not given:
        return
    if type_ not in TYPES:
        field = f"{_FIELD}.distributionType"
        raise invalid(f"{field}: '{type_[:100]}' is not known.{nearest(type_, TYPES)}", field)
    if type_ == TENSORFLOW:
        _check_roles(*_counts(properties, nodes), nodes)
    if type_ == RAY:
        ray.check(given)
    if not elsewhere:
        check_nodes(platform, nodes)


def check_nodes(platform: Platform, nodes: int) -> None:
    """Of a distribution on this machine. Raises ArmError(400) where they would look for each other in vain."""
    if nodes > 1 and platform.engine.isolation().level == "network":
        raise ArmError(
            400,
            "UnsupportedDistribution",
            f"{_FIELD}: {nodes} nodes that look for each other are asked for; with isolation 'network' no node reaches"
            " another. Use one node with more processes, or have the platform started with another isolation.",
            _FIELD,
        )


def _check_roles(workers: int, servers: int, nodes: int) -> None:
    field, all_ = f"{_FIELD}.workerCount", workers + servers
    what = f"{field}: {workers} workers and {servers} parameter servers"
    if all_ < nodes:
        raise invalid(f"{what} are fewer than the {nodes} nodes; lower resources.instanceCount.", field)
    if all_ > nodes * PORTS_EACH:
        raise invalid(f"{what} are more than {PORTS_EACH} on each of {nodes} nodes; use more nodes.", field)


def log_name(process: Process, processes: int) -> str:
    """As Azure names them; the first one's is what clients stream."""
    if processes == 1:
        return "user_logs/std_log.txt"
    width = len(str(processes - 1))
    end = "_ps" if process.role == "ps" else ""
    return f"user_logs/std_log_process_{process.index:0{width}}{end}.txt"


def workers(nodes: Sequence[Sequence[Process]], ports: Sequence[int], hosts: Sequence[str]) -> dict[str, list[str]]:
    """Where each process of each role listens: `TF_CONFIG`'s cluster. `hosts`: each node's address."""
    found: dict[str, dict[int, str]] = {}
    for node, processes in enumerate(nodes):
        for one in processes:
            found.setdefault(one.role, {})[one.index] = f"{hosts[node]}:{ports[node] + one.local}"
    return {role: [known[index] for index in sorted(known)] for role, known in found.items()}
