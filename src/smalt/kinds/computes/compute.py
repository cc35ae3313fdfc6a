"""Computes. A cluster's node is a lease on engine capacity: a row of `allocation`, made for a job, freed when idle.

Jobs take and return nodes themselves (`sched/placement.py`); what is left here is the idle
scale-down and the node counts. Where an operator has given a cluster machines of their own (`store/nodes.py`), they are
its nodes: as many as are connected. Where Ray makes them: `ray.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm import assigned, instances
from smalt.arm.durations import seconds_of
from smalt.arm.errors import conflict, invalid
from smalt.arm.kind import OURS, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, nearest
from smalt.kinds.computes import ray
from smalt.kinds.computes.instances import life, resource
from smalt.kinds.computes.instances.shape import InstanceProperties
from smalt.kinds.computes.ray import RayProperties, Scale
from smalt.sched import placement, queue, turns
from smalt.sched.growth import ray_of
from smalt.sched.sizes import SIZES
from smalt.store import nodes, resources
from smalt.store.document import part
from smalt.store.nodes import Machine
from smalt.store.resources import Row

_RESERVED = {"local", "serverless"}
_RAISED = "raised"  # in the status: what the last step raised
_LOOK_AGAIN_S = 30.0


class ScaleSettings(Properties):
    max_node_count: int = Field(ge=0, le=1000)
    min_node_count: int = Field(0, ge=0, le=1000)
    node_idle_time_before_scale_down: str | None = None


class MachineProperties(InstanceProperties):
    vm_size: str | None = None
    vm_priority: Literal["Dedicated", "LowPriority"] | None = None
    scale_settings: ScaleSettings | None = None
    ray: RayProperties | None = None


class ComputeProperties(Properties):
    compute_type: str
    properties: MachineProperties | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if request.id.name.lower() in _RESERVED:
        raise invalid(f"'{request.id.name}' is a compute that always exists; choose another name.", "name")
    properties = request.body["properties"]
    type_, machine = properties["computeType"], _without_password(dict(properties.get("properties") or {}))
    if type_ not in ("AmlCompute", "ComputeInstance"):
        raise invalid(
            f"properties.computeType: '{type_}' cannot be had here; use AmlCompute or ComputeInstance.",
            "properties.computeType",
        )
    if old is not None and old.properties.get("computeType") != type_:
        raise conflict(
            f"Compute '{old.name}' is a {old.properties.get('computeType')}; delete it first.", "properties.computeType"
        )
    machine["vmSize"] = _size(machine.get("vmSize"))
    if type_ == "AmlCompute":
        scale = {"minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT120S", **(machine.get("scaleSettings") or {})}
        scale.setdefault("maxNodeCount", 1)
        if scale["minNodeCount"] > scale["maxNodeCount"]:
            raise invalid(
                "minNodeCount is larger than maxNodeCount.", "properties.properties.scaleSettings.minNodeCount"
            )
        seconds_of(
            scale["nodeIdleTimeBeforeScaleDown"], 0, "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown"
        )
        machine["scaleSettings"] = scale
        machine.setdefault("vmPriority", "Dedicated")
    elif machine.get("ray"):
        raise invalid("properties.properties.ray: only an AmlCompute has nodes on Ray.", "properties.properties.ray")
    attached, writes = ray.admit(request, connection, old, machine.pop("ray", None))
    if attached and type_ == "AmlCompute":
        machine["ray"] = attached
    spec = {**request.body, "properties": {**properties, "properties": machine}}
    if type_ == instances.TYPE:
        return resource.admit(request, spec, machine, connection, old)
    spec[OURS] = assigned.assign(request, connection, old)
    status = dict(old.status) if old else {}
    return Admitted(spec, state="Succeeded", due=True, status=status, writes=writes)


def _size(given: str | None) -> str:
    if not given:
        return "STANDARD_DS3_V2"
    if given.lower() not in SIZES:
        hint = nearest(given.lower(), list(SIZES))
        raise invalid(
            f"properties.properties.vmSize: the size '{given}' is not known.{hint}", "properties.properties.vmSize"
        )
    return given


def _reconcile(platform: Platform, row: Row) -> Step:
    row = replace(row, status={name: value for name, value in row.status.items() if name != _RAISED})
    if instances.is_one(row):
        return life.step(platform, row)
    now = platform.clock()
    if row.deleting and ray_of(row):
        return ray.remove(platform, row)
    if row.deleting:
        with platform.database.write() as connection:
            placement.release_idle(connection, row.id, now, idle_s=0, least=0)
            turns.forget(connection, row.id)
        return Step(row.state, row.status, gone=True)
    machine = row.properties.get("properties") or {}
    scale = machine.get("scaleSettings") or {}
    idle_s = seconds_of(scale.get("nodeIdleTimeBeforeScaleDown"), 120)
    least = int(scale.get("minNodeCount") or 0)
    if ray_of(row):
        return _reconcile_ray(platform, row, Scale(least, int(scale.get("maxNodeCount") or 0), idle_s))
    with platform.database.write() as connection:
        if not nodes.of_compute(connection, row.id):
            placement.ensure_least(connection, row.id, least, now)
        queue.wake_first(connection, row.id, now)  # there may be room now: the maximum may have been raised
        next_at = placement.release_idle(connection, row.id, now, idle_s, least)
        busy, idle = placement.counts(connection, row.id)
    status = {**row.status, "busy": busy, "idle": idle}
    return Step("Succeeded", status, done=True, after=None if next_at is None else max(next_at - now, 0.05))


def _fail(platform: Platform, row: Row, error: Document) -> Step:
    """What runs there runs on, so it is looked after: each look may find that all is well."""
    status = {**row.status, _RAISED: error}
    return Step("Failed", status, done=True, error=error, after=_LOOK_AGAIN_S, reason=str(error["message"])[:500])


def _reconcile_ray(platform: Platform, row: Row, scale: Scale) -> Step:
    told, after = ray.step(platform, row, scale)
    with platform.database.write() as connection:
        queue.wake_first(connection, row.id, platform.clock())  # a node may have come, or what it waits for changed
        busy, idle = placement.counts(connection, row.id)
    status = {**row.status, "busy": busy, "idle": idle, "ray": told}
    return Step("Succeeded", status, done=True, after=after, home=ray.home_of(platform, row))


def _view(platform: Platform, row: Row) -> Document:
    machine = dict(row.properties.get("properties") or {})
    if row.properties.get("computeType") == "AmlCompute":
        with platform.database.read() as connection:
            busy, idle = placement.counts(connection, row.id)
            machines = nodes.of_compute(connection, row.id)
        if machines or ray_of(row):
            idle = max(sum(one.connected for one in machines) - busy, 0)
        coming = sum(map(_is_coming, machines))
        machine |= {
            "allocationState": "Resizing" if coming else "Steady",
            "currentNodeCount": busy + idle,
            "targetNodeCount": busy + idle + coming,
            "nodeStateCounts": {
                "idleNodeCount": idle,
                "runningNodeCount": busy,
                "preparingNodeCount": coming,
                "unusableNodeCount": sum(not one.connected for one in machines) - coming,
                "leavingNodeCount": 0,
                "preemptedNodeCount": 0,
            },
        }
    else:
        machine = resource.view(platform, row)
    return {
        "properties": _without_password(machine),
        "computeLocation": row.spec.get("location") or "local",
        "isAttachedCompute": False,
        "provisioningErrors": _wrong(row),
    }


def _shape(platform: Platform, row: Row, document: Document) -> Document:
    if not part(document, "identity"):
        return document
    with platform.database.read() as connection:
        return assigned.shown(connection, row, document)


def _without_password(machine: Document) -> Document:
    """No node has SSH, so the administrator's password opens nothing: it is not kept, and older rows do not show it."""
    account = part(machine, "userAccountCredentials")
    if "adminUserPassword" not in account:
        return machine
    return {**machine, "userAccountCredentials": {k: v for k, v in account.items() if k != "adminUserPassword"}}


def _is_coming(machine: Machine) -> bool:
    """Ray was asked for it, and it has never dialled in."""
    return machine.engine == nodes.RAY and machine.seen_at is None


def _wrong(row: Row) -> list[Document] | None:
    if error := row.status.get("error") or row.status.get(_RAISED):
        return [{"error": error}]
    why = (row.status.get("ray") or {}).get("why")
    return [{"error": {"code": "RayNodes", "message": why}}] if why else None


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    busy, _ = placement.counts(connection, row.id)
    waiting = queue.waiting(connection, row.id)
    if busy or waiting:
        raise conflict(
            f"Compute '{row.name}' has {busy} busy nodes and {waiting} waiting jobs."
            " Cancel the jobs or wait for their end.",
            "name",
        )


def _preempt(request: Request, row: Row | None) -> tuple[int, Any]:
    """The jobs on so many of its low-priority nodes give way, as where others needed them."""
    assert row is not None
    count = request.body.get("nodeCount", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1000:
        raise invalid("nodeCount: this must be a whole number from 1 to 1000.", "nodeCount")
    with request.platform.database.write() as connection:
        owners = placement.take_back(connection, row.id, count, request.now)
        jobs = resources.get_many(connection, owners)
    if not owners:
        raise conflict(
            f"Compute '{row.name}' has no {count} nodes that jobs of low priority have: nothing was preempted.",
            "nodeCount",
        )
    request.platform.hub.notify(row.id)
    return 200, {"preempted": [jobs[owner].name for owner in owners if owner in jobs]}


def _nodes(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    with request.platform.database.read() as connection:
        found = {node.node: node for node in placement.nodes(connection, row.id)}
        machines = nodes.of_compute(connection, row.id)
    if not machines and not ray_of(row):
        here = {"port": 22, "privateIpAddress": "127.0.0.1"}
        return 200, {"nodes": [_node(f"{row.name}-{number}", node.owner) | here for number, node in found.items()]}
    owners = {number: node.owner for number, node in found.items()}
    return 200, {"nodes": [_node(one.name, owners.get(one.number), one) for one in machines]}


def _node(name: str, owner: str | None, machine: Machine | None = None) -> Document:
    state = "running" if owner else "idle"
    if machine is not None and not machine.connected:
        state = "preparing" if _is_coming(machine) else "unusable"
    run = owner.rsplit("/", 1)[-1] if owner else None
    return {"nodeId": name, "nodeState": state, "runId": run}


KIND = Kind(
    path="workspaces/computes",
    title="compute",
    properties=ComputeProperties,
    admit=_admit,
    reconcile=_reconcile,
    fail=_fail,
    view=_view,
    shape=_shape,
    check_delete=_check_delete,
    long_running=True,  # also for clients that read the answer to a PUT twice where there is nothing to poll (1.31.0)
    actions={
        **resource.ACTIONS,
        "listNodes": Action(_nodes),
        "preempt": Action(_preempt),
    },
    name_pattern=r"^[a-zA-Z][a-zA-Z0-9\-]{1,31}$",
    by_the_clock=True,
)
