"""Deployments whose instances run on machines of a cluster: which one is meant, and which machine has which instance.

`compute` in a deployment's own part is that cluster, from its PUT on; without it the instances are processes of the
server's own machine. `machines` in the status says where each instance is, before it is started there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import Outcome, Phase, TaskState
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.arm.ports import IN_TABLE, Capacity, Principal
from smalt.arm.scale import MOST
from smalt.arm.validation import nearest
from smalt.kinds.serving import sizing
from smalt.sched import hosts, queue, room
from smalt.sched.growth import ray_of
from smalt.sched.sizes import SIZES, gpus_of
from smalt.sched.want import Want
from smalt.store import nodes, resources
from smalt.store.document import part
from smalt.store.resources import Row

PROPERTY = "smalt.compute"  # among a deployment's properties: the cluster's name
FIELD = f"properties.properties.{PROPERTY}"
ENDPOINT_FIELD = "properties.compute"
_AWAY_S = 5.0  # of silence: then requests go to others, where there are any
_GONE_S = 15.0  # then another machine has its instances
_COMPUTES = "workspaces/computes"
_REMEDY = (
    "Add a machine (smalt node add), delete a deployment or have fewer instances, wait for jobs there to end, or set"
    " smaller instance_types."
)


def compute_of(row: Row) -> str:
    """The cluster that has its instances, by key; empty: this machine has them."""
    return str(part(row.spec, OURS).get("compute") or "")


def size_of(row: Row) -> str:
    """What its instances have (`sizing.size_of`)."""
    return sizing.size_of(row.properties, on_cluster=bool(compute_of(row)))


def named(connection: Connection, workspace: ResourceId, given: str, field: str) -> Row:
    """The cluster of that name or id, if it has machines for instances. Raises ArmError(400)."""
    name = given.removeprefix("azureml:")
    try:
        id_ = ResourceId.parse(name)
    except NotAnId:
        id_ = workspace.child("computes", name) if name.isprintable() and "/" not in name else None
    if id_ is None or id_.kind != _COMPUTES or id_.workspace.key != workspace.key:
        raise invalid(f"{field}: {given[:200]!r} is no compute of workspace '{workspace.name}'.", field)
    row = resources.get(connection, id_.key)
    if row is None or row.deleting:
        known = [one.rpartition("/")[2] for one in resources.children(connection, workspace.key, _COMPUTES)]
        raise invalid(f"{field}: there is no compute '{id_.name}'.{nearest(id_.name.lower(), known)}", field)
    _check(connection, row, field)
    return row


def _check(connection: Connection, row: Row, field: str) -> None:
    machines = nodes.of_compute(connection, row.id)
    if not machines and not ray_of(row):
        raise invalid(
            f"{field}: compute '{row.name}' has no machines of its own: what it has are shares of this one, where"
            " managed endpoints run without any compute. Leave it out, or give it machines (smalt node add).",
            field,
        )
    if machines and all(one.seen_at is not None and not one.address for one in machines):
        raise invalid(
            f"{field}: no machine of compute '{row.name}' has an address at which this one finds it"
            " (smalt node list --json; smalt node run --address).",
            field,
        )


def chosen(
    connection: Connection, workspace: ResourceId, endpoint: Row | None, properties: Mapping[str, Any], here: int
) -> Row | None:
    """The cluster for a deployment; None: this machine, which has `here` GPUs. Raises ArmError(400).

    What the deployment says goes first, then its endpoint; and a size with more GPUs than there are here goes where
    there are such machines.
    """
    if given := part(properties, "properties").get(PROPERTY):
        return named(connection, workspace, str(given), FIELD)
    if endpoint is not None and (given := endpoint.properties.get("compute")):
        return named(connection, workspace, str(given), ENDPOINT_FIELD)
    if str(properties.get("endpointComputeType") or "").lower() == "kubernetes":
        field = "properties.endpointComputeType"
        raise invalid(f"{field}: Kubernetes needs an endpoint that has a compute; use Managed.", field)
    gpus = gpus_of(sizing.size_of(properties, on_cluster=False))
    if gpus <= here:
        return None
    for key in sorted(resources.children(connection, workspace.key, _COMPUTES)):
        row = resources.get(connection, key)
        if row is not None and not row.deleting and _fits(connection, row, gpus):
            return row
    return None


def _fits(connection: Connection, row: Row, gpus: int) -> bool:
    if ray_of(row):
        size = SIZES.get(_node_size(row).lower())
        return size is not None and size.gpus >= gpus
    return any(one.gpus >= gpus and one.address for one in nodes.of_compute(connection, row.id))


def check(connection: Connection, row: Row, size: str, count: int, field: str, principal: Principal) -> None:
    """Whether the cluster can have so many instances of a size. Raises ArmError(400, 403)."""
    if ray_of(row) and principal.kind in IN_TABLE:
        raise ArmError(
            403,
            "OwnerOnly",
            f"The nodes of compute '{row.name}' are Ray's, where only the platform's owner may run anything:"
            f" {principal.name} could reach Ray itself from there. Use another compute.",
            "properties.compute",
        )
    most = most_of(connection, row, size)
    if count > most:
        raise invalid(
            f"{field}: {count} instances of {sizing.shown(size)}; compute '{row.name}' has room for at most {most}.",
            field,
        )
    gpus = gpus_of(size)
    have = [one.gpus for one in nodes.of_compute(connection, row.id) if one.seen_at is not None]
    if gpus > max(have, default=gpus):
        raise invalid(
            f"{sizing.field_of(size)}: an instance of {sizing.shown(size)} has {gpus} GPUs; the best machine of compute"
            f" '{row.name}' has {max(have)}.",
            sizing.field_of(size),
        )


def most_of(connection: Connection, row: Row | None, size: str) -> int:
    """How many instances of a size a cluster can have, were all its nodes like its best."""
    if row is None:
        return 1
    each = room.most_of_any(size, nodes.of_compute(connection, row.id), _node_size(row))
    return min(_most_nodes(row) * each, MOST)


def _most_nodes(cluster: Row | None) -> int:
    scale = part(part(cluster.properties, "properties"), "scaleSettings") if cluster is not None else {}
    return int(scale.get("maxNodeCount") or 1)


def _node_size(cluster: Row | None) -> str:
    return str(part(cluster.properties, "properties").get("vmSize") or "") if cluster is not None else ""


def observe(platform: Platform, status: Document, names: Iterable[str]) -> dict[str, TaskState | None]:
    """Each instance; one counts as ended whose machine is gone: it serves nobody, and another can do its work."""
    machines = status.get("machines", {})
    found: dict[str, TaskState | None] = {}
    for name in names:
        state = platform.engine.observe(name)
        if state is not None and state.phase is not Phase.EXITED and is_gone(platform, machines.get(name, "")):
            why = f"Node '{machines[name]}' has not been heard of for {_GONE_S:g} s."
            state = replace(state, phase=Phase.EXITED, outcome=Outcome.LOST, ready=False, error=why)
        found[name] = state
    return found


def is_gone(platform: Platform, machine: str) -> bool:
    return platform.engine.silent_s(machine) >= _GONE_S


def answering(platform: Platform, status: Document, ready: Sequence[str]) -> list[str]:
    """Those of `ready` whose machines are heard of; all where none is."""
    machines = status.get("machines", {})
    return [name for name in ready if platform.engine.silent_s(machines.get(name, "")) < _AWAY_S] or list(ready)


def look_again_s(platform: Platform, status: Document, names: Iterable[str]) -> float | None:
    """When an instance's machine has been silent for long enough that something follows (s); None: all are heard of."""
    machines = status.get("machines", {})
    silent = [platform.engine.silent_s(machines[name]) for name in names if name in machines]
    left = [limit - one for one in silent if one for limit in (_AWAY_S, _GONE_S) if one < limit]
    return min(left, default=None)


def assign(platform: Platform, row: Row, status: Document, names: Sequence[str], missing: Sequence[str]) -> bool:
    """Machines for those of `missing` that have none, into the status; whether anything was written there.

    `names`: all of the revision.
    """
    compute, machines = compute_of(row), status.get("machines", {})
    stale = {name: machines[name] for name in missing if name in machines and is_gone(platform, machines[name])}
    machines = {name: machine for name, machine in machines.items() if name not in stale}
    lacking = [name for name in missing if name not in machines]
    if not compute or not lacking:
        return False
    size, now = str(status["target"]["size"]), platform.clock()
    gpus = gpus_of(size)
    with platform.database.write() as connection:
        if stale:
            hosts.keep(connection, row.id, machines, now)
        cluster = resources.get(connection, compute)
        most = _most_nodes(cluster)
        want = Want(compute, row.id, len(lacking), most, row.created_at, gpus, elsewhere=True)
        me, gone = platform.servers.me, set(stale.values())
        asked = hosts.Instances(names, lacking, size, _node_size(cluster), me, gone)
        given = hosts.hold(connection, want, asked, now)
    if not given and not stale:
        return False
    status["machines"] = {**machines, **given}
    return True


def keep(platform: Platform, row: Row, status: Document) -> None:
    """What others had of nodes is given back."""
    if compute_of(row) or status.get("machines") is not None:
        with platform.database.write() as connection:
            hosts.keep(connection, row.id, status.get("machines", {}), platform.clock())


def lacks(platform: Platform, row: Row) -> str:
    """What instances wait for, for people."""
    compute = compute_of(row)
    with platform.database.read() as connection:
        cluster, machines = resources.get(connection, compute), nodes.of_compute(connection, compute)
        place = queue.place_of(connection, row.id)
    name = compute.rpartition("/")[2]
    if cluster is None:
        return f"compute '{name}', which is gone"
    if wrong := part(cluster.status, "ray").get("why"):
        return f"nodes of compute '{name}': {wrong}"
    connected = [one for one in machines if one.connected]
    if machines and not connected:
        return f"nodes of compute '{name}': none of its machines is connected (smalt node list)"
    if connected and not any(one.address for one in connected):
        return f"nodes of compute '{name}': this machine finds none of them (smalt node run --address)"
    if connected and place is not None and not hosts.usable(connected, 0, platform.servers.me):
        return f"nodes of compute '{name}': its machines have dialled another server"
    with platform.database.read() as connection:
        left = hosts.spare(connection, compute, connected, _node_size(cluster))
    return f"{_asked(row)} on a node of compute '{name}'. {_have(len(connected), left)} {_REMEDY}"


def unplaced(platform: Platform, row: Row, names: Sequence[str]) -> str:
    """What instances wait for where the cluster has no machine for any of them (`names`); empty where one has its."""
    machines = part(row.status, "machines")
    if not names or not compute_of(row) or any(one in machines for one in names):
        return ""
    with platform.database.read() as connection:
        place = queue.place_of(connection, row.id)
    return lacks(platform, row) if place is not None else ""  # without one: it was not tried yet


def _asked(row: Row) -> str:
    size = room.size_capacity(str(part(row.status, "target").get("size", "")))
    if size is None:  # what an older version started
        return "a node to itself, as it was without an instance_type,"
    gpus = f", {size.gpus} GPUs" if size.gpus else ""
    return f"room (each has {size.cpus} cores, {_words(size.memory_bytes)}{gpus})"


def _have(connected: int, left: Sequence[Capacity]) -> str:
    if not left:
        return f"All {connected} that are connected have jobs or deployments that share with nobody."
    best = max(left, key=lambda one: (one.cpus, one.memory_bytes))
    gpus = f", {best.gpus} GPUs" if best.gpus else ""
    rest = f"the other {connected - len(left)} have jobs, or others' turn is first" if connected > len(left) else ""
    return (
        f"Of {len(left)} that have instances the best has {best.cpus} cores, {_words(best.memory_bytes)}{gpus} left"
        f"{'; ' + rest if rest else ''}."
    )


def _words(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def forget(status: Document, name: str) -> None:
    if "machines" in status:
        status["machines"] = {one: machine for one, machine in status["machines"].items() if one != name}


def is_waiting(status: Document, observed: Mapping[str, TaskState | None]) -> bool:
    """Whether what is looked at is only built yet, on its machine: that is no time in which an instance comes up."""
    machines = status.get("machines", {})
    return any(name in machines and state is not None and not state.accepted_at for name, state in observed.items())


def least_after(*after: float | None) -> float | None:
    found = [one for one in after if one is not None and one < math.inf]
    return min(found, default=None)
