"""Online endpoints: which there are; of one its deployments, traffic, numbers of the last hour, logs and changes."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import JSONResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.platform_api import API_VERSION
from smalt.studio.rendering import HEADERS, page, seconds
from smalt.studio.routes import get
from smalt.studio.visit import Visit

CHANGES = 30


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    found = await visit.api.get(f"{visit.workspace}/onlineEndpoints", query)
    endpoints = [_shown(one) for one in found["value"]]
    return page("endpoints.html", visit, cursor=cursor, endpoints=endpoints, more=following(found), first=not after)


async def show_one(visit: Visit) -> Response:
    cursor = await visit.cursor()
    document, deployments, history = await asyncio.gather(
        visit.api.get(_path(visit)),
        visit.api.get(f"{_path(visit)}/deployments", {"count": str(PAGE)}),
        visit.api.get(f"{_path(visit)}/history"),
    )
    endpoint = _shown(document)
    return page(
        "endpoint.html", visit, cursor=cursor, endpoint=endpoint, changes=history["value"][:-CHANGES - 1:-1],
        deployments=[_deployment(one, endpoint["traffic"]) for one in deployments["value"]], api_version=API_VERSION,
    )  # fmt: skip


async def numbers(visit: Visit) -> Response:
    """`?of=requests` or `latency`: columns of the last hour, a minute each."""
    minutes = (await visit.api.get(f"{_path(visit)}/history"))["minutes"]
    latency = visit.http.query_params.get("of") == "latency"
    names = {"p50 ms": "p50", "p99 ms": "p99"} if latency else {"requests": "requests", "failed": "failed"}
    lines = {label: [one[name] for one in minutes] for label, name in names.items()}
    times = [seconds(one["at"]) for one in minutes]
    return JSONResponse({"step": times, "time": times, "lines": lines}, headers=HEADERS)


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/onlineEndpoints/{visit.http.path_params['name']}"


def _shown(endpoint: Document) -> dict[str, Any]:
    properties = endpoint["properties"]
    return {
        "id": str(endpoint["id"]).lower(),
        "name": endpoint["name"],
        "state": properties["provisioningState"],
        "auth": properties.get("authMode") or "",
        "traffic": part(properties, "traffic"),
        "mirrored": part(properties, "mirrorTraffic"),
        "uri": properties.get("scoringUri") or "",
        "description": properties.get("description") or "",
        "created": endpoint["systemData"]["createdAt"],
    }


def _deployment(deployment: Document, traffic: Document) -> dict[str, Any]:
    properties = deployment["properties"]
    shares = {name.lower(): share for name, share in traffic.items()}
    return {
        "path": deployment["id"],
        "id": str(deployment["id"]).lower(),
        "name": deployment["name"],
        "state": properties["provisioningState"],
        "instances": part(deployment, "sku").get("capacity", 1),
        "share": shares.get(deployment["name"].lower(), 0),
        "model": str(properties.get("model") or "").partition("/models/")[2].replace("/versions/", ":"),
        "created": deployment["systemData"]["createdAt"],
    }


ROUTES = (
    get("/endpoints", show),
    get("/endpoints/{name}", show_one),
    get("/endpoints/{name}/numbers", numbers),
)
