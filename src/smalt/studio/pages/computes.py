"""Computes: which there are, with their nodes and queues; and the forms of new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.pages.rehearsed import segment
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

INSTANCE, CLUSTER = "ComputeInstance", "AmlCompute"
TYPES = {INSTANCE: "Instance", CLUSTER: "Cluster"}
DEFAULT_SIZE = "Standard_DS3_v2"
_DIGITS = 9
_READY = {"Succeeded": "Ready"}  # a cluster, which jobs may use


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    found, queues = await asyncio.gather(
        visit.api.get(f"{visit.workspace}/computes", query), visit.api.get(f"{visit.workspace}/queues")
    )
    waiting = {one["name"].lower(): one["properties"] for one in queues["value"]}
    computes = [shown(one, waiting.get(one["name"].lower(), {})) for one in found["value"]]
    shared = [_shared(name, waiting[name]) for name in ("local", "serverless") if name in waiting]
    return page(
        "computes.html", visit, cursor=cursor, computes=computes, shared=shared, more=following(found), first=not after
    )


def shown(compute: Document, queue: Mapping[str, Any]) -> dict[str, Any]:
    """What lists and a compute's own page have of it. `queue`: of the API; empty where nobody waits or runs."""
    properties = compute["properties"]
    machine = part(properties, "properties")
    counts, scale = part(machine, "nodeStateCounts"), part(machine, "scaleSettings")
    instance = properties["computeType"] == INSTANCE
    busy = int(counts.get("runningNodeCount") or 0)
    errors = properties.get("provisioningErrors") or []
    return {
        "id": str(compute["id"]).lower(),
        "etag": compute.get("etag") or "",
        "name": compute["name"],
        "type": TYPES.get(properties["computeType"], properties["computeType"]),
        "instance": instance,
        "state": machine.get("state")
        if instance
        else _READY.get(properties["provisioningState"], properties["provisioningState"]),
        "allocation": machine.get("allocationState") or "",
        "size": machine.get("vmSize") or "",
        "busy": busy,
        "idle": int(counts.get("idleNodeCount") or 0),
        "coming": int(counts.get("preparingNodeCount") or 0),
        "unusable": int(counts.get("unusableNodeCount") or 0),
        "least": scale.get("minNodeCount", 0),
        "most": scale.get("maxNodeCount", 1),
        "share": round(100 * busy / scale["maxNodeCount"]) if scale.get("maxNodeCount") else 0,
        "waiting": int(queue.get("waiting") or 0),
        "idle_time": machine.get("idleTimeBeforeShutdown") or scale.get("nodeIdleTimeBeforeScaleDown") or "",
        "owner": part(machine, "createdBy").get("userName") or part(compute, "systemData").get("createdBy") or "",
        "created": compute["systemData"]["createdAt"],
        "error": part(errors[0], "error").get("message") if errors else "",
        "applications": machine.get("applications") or [],
        "operation": part(machine, "lastOperation"),
        "schedules": part(machine, "schedules").get("computeStartStop") or [],
        "priority": machine.get("vmPriority") or "",
        "ray": bool(machine.get("ray")),
    }


def _shared(name: str, queue: Document) -> dict[str, Any]:
    """What always exists: it has a queue, and no resource."""
    busy = [one for one in queue["nodes"] if one["job"]]
    return {"name": name, "busy": len(busy), "most": queue["maxNodeCount"], "waiting": queue["waiting"]}


async def new(visit: Visit) -> Response:
    sizes = await visit.api.get(f"/subscriptions/{visit.workspace.subscription}{_LOCATION}/vmSizes")
    kind = visit.http.query_params.get("kind", "instance")
    return page("compute_new.html", visit, kind=kind, size=DEFAULT_SIZE, sizes=sizes["value"])


_LOCATION = "/providers/Microsoft.MachineLearningServices/locations/local"


async def create(visit: Visit) -> Response:
    given = visit.fields
    name = given.get("name", "").strip()
    if not name:
        raise Refused.at("name", "ValidationError", "Give it a name: 2 to 32 letters, digits and '-', a letter first.")
    body, new = {"location": "local", "properties": _asked(given)}, {"if-none-match": "*"}
    await visit.api.put(f"{visit.workspace}/computes/{segment('name', name)}", body, headers=new)
    return RedirectResponse(visit.link(f"/computes/{name}"), 303, HEADERS)


def _asked(given: Mapping[str, str]) -> Document:
    """Raises Refused."""
    size, idle = given.get("size") or DEFAULT_SIZE, minutes(given.get("idle", ""))
    if given.get("kind") != "cluster":
        own = {"vmSize": size, **({"idleTimeBeforeShutdown": idle} if idle else {})}
        return {"computeType": INSTANCE, "properties": own}
    scale: Document = {"minNodeCount": _number(given, "least", 0), "maxNodeCount": _number(given, "most", 1)}
    if idle:
        scale["nodeIdleTimeBeforeScaleDown"] = idle
    return {"computeType": CLUSTER, "properties": {"vmSize": size, "scaleSettings": scale}}


def is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS


def minutes(text: str) -> str:
    """As the API has durations. Raises Refused."""
    if text and not is_number(text):
        raise Refused.at("idle", "ValidationError", f"The idle time is a number of whole minutes, not '{text[:20]}'.")
    return f"PT{int(text)}M" if text else ""


def _number(given: Mapping[str, str], name: str, otherwise: int) -> int:
    text = given.get(name) or str(otherwise)
    if not is_number(text):
        raise Refused.at(name, "ValidationError", f"'{text[:20]}' is no number of nodes.")
    return int(text)


ROUTES = (get("/computes", show), get("/computes-new", new), post("/computes-new", create))
