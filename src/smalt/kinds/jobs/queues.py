"""`WORKSPACE/queues`: who has a compute's nodes, who waits for them, in order, and when each may start.

Azure has no such route; `smalt top` shows it. A queue follows from the scheduler's rows and has none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from smalt.arm.envelope import timestamp
from smalt.arm.errors import not_found
from smalt.arm.ids import ML, ResourceId
from smalt.arm.kind import OURS, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.arm.runs import JOBS
from smalt.kinds.jobs import admission
from smalt.kinds.jobs.model import POSITION
from smalt.kinds.jobs.status import JobStatus
from smalt.sched import forecast, placement, queue
from smalt.sched.placement import Node
from smalt.sched.queue import Place
from smalt.sched.want import priority_of
from smalt.store import nodes as machines
from smalt.store import pages, resources
from smalt.store.document import part
from smalt.store.resources import Row

PATH = "workspaces/queues"
SHOWN_MOST = 200  # of those who wait for one compute
POSITION_MOST = 1000  # a later one is not counted
_PAST_MOST = 200  # jobs that are looked at for how long jobs take


def position(platform: Platform, row: Row) -> Document:
    """The properties of a job that waits for nodes, with its place among those who wait.

    Not above `POSITION_MOST`, so that it costs the same in any queue.
    """
    if row.state != "Queued":
        return {}
    with platform.database.read() as connection:
        found = queue.position(connection, row.id, POSITION_MOST)
    return {} if found is None else {"properties": {**part(row.properties, "properties"), POSITION: str(found)}}


def _list(request: Request) -> tuple[int, Any]:
    above = request.id.holder
    prefix = f"{above.key}/computes/"
    with request.platform.database.read() as connection:
        keys = sorted({*placement.computes(connection, prefix), *queue.computes(connection, prefix)})
        past = _durations(connection, above)
        found = [_shown(request, above, connection, key, past) for key in keys]
    return 200, {"value": found}


def _get(request: Request) -> tuple[int, Any]:
    above = request.id.parent
    key = above.child("computes", request.id.name).key
    with request.platform.database.read() as connection:
        if admission.nodes_most(request.platform, connection, key) is None:
            raise not_found("Compute", request.id.name)
        return 200, _shown(request, above, connection, key, _durations(connection, above))


def _durations(connection: Connection, workspace: ResourceId) -> dict[str, list[float]]:
    """How long the last jobs ran, in seconds, by the key of their compute."""
    found: dict[str, list[float]] = {}
    for row in pages.page(connection, JOBS, workspace.key, most=_PAST_MOST).rows:
        status = JobStatus.read(row.status)
        compute = part(row.spec, OURS).get("compute")
        if compute and row.state == "Completed" and status.started_at and status.ended_at:
            found.setdefault(compute, []).append(status.ended_at - status.started_at)
    return found


def _shown(
    request: Request, above: ResourceId, connection: Connection, key: str, past: Mapping[str, Sequence[float]]
) -> Document:
    """`past`: how long jobs ran, by compute."""
    nodes, waiting = placement.nodes(connection, key), queue.first(connection, key, SHOWN_MOST)
    most = admission.nodes_most(request.platform, connection, key) or 0
    known = {one.number: one for one in machines.of_compute(connection, key)}
    there = {number for number, one in known.items() if one.connected} if known else None
    busy, free = [node for node in nodes if node.owner], len(placement.available(nodes, most, there))
    typical = forecast.typical_s(past.get(key, ()))
    starts = forecast.starts([node.since for node in busy], free, [one.nodes for one in waiting], typical, request.now)
    owners = [*(node.owner for node in busy if node.owner), *(one.owner for one in waiting)]
    rows = resources.get_many(connection, owners)
    name = key.rpartition("/")[2]
    return {
        "id": f"{above}/queues/{name}",
        "name": name,
        "type": f"{ML}/{PATH}",
        "properties": {
            "maxNodeCount": most,
            "typicalSeconds": typical,
            "nodes": [_node(node, known.get(node.node), rows) for node in nodes],
            "waiting": queue.waiting(connection, key),
            "jobs": [
                {"position": at, **_waits(one, rows), "expectedStart": timestamp(start) if start else None}
                for at, (one, start) in enumerate(zip(waiting, starts, strict=True), 1)
            ],
        },
    }


def _node(node: Node, machine: machines.Machine | None, rows: Mapping[str, Row]) -> Document:
    where = {"machine": machine.name, "connected": machine.connected} if machine else {"machine": None}
    shown: Document = {"node": node.node, **where, "gpus": list(node.gpus)}
    return {**shown, **_job(rows.get(node.owner or "")), "since": timestamp(node.since)}


def _waits(place: Place, rows: Mapping[str, Row]) -> Document:
    return {
        **_job(rows.get(place.owner)),
        "nodes": place.nodes,
        "priority": priority_of(place.rank),
        "spot": place.preemptible,
        "lacksGpus": place.lacks_gpus,
        "lacksQuota": place.lacks_quota,
        "since": timestamp(place.since),
    }


def _job(row: Row | None) -> Document:
    """Of a node that nobody has all is None."""
    name = row.properties.get("displayName") if row else None
    return {"job": row.name if row else None, "displayName": name, "status": row.state if row else None}


KIND = Kind(path=PATH, title="queue", verbs={"GET": _get, "LIST": _list})
