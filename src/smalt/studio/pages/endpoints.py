"""The list of online endpoints, a page at a time."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    found = await visit.api.get(f"{visit.workspace}/onlineEndpoints", query)
    endpoints = [shown(one) for one in found["value"]]
    return page("endpoints.html", visit, cursor=cursor, endpoints=endpoints, more=following(found), first=not after)


def shown(endpoint: Document) -> dict[str, Any]:
    properties = endpoint["properties"]
    return {
        "path": endpoint["id"],
        "id": str(endpoint["id"]).lower(),
        "name": endpoint["name"],
        "etag": endpoint.get("etag") or "",
        "state": properties["provisioningState"],
        "auth": properties.get("authMode") or "",
        "traffic": part(properties, "traffic"),
        "mirrored": part(properties, "mirrorTraffic"),
        "uri": properties.get("scoringUri") or "",
        "swagger": properties.get("swaggerUri") or "",
        "description": properties.get("description") or "",
        "created": endpoint["systemData"]["createdAt"],
    }


ROUTES = (get("/endpoints", show),)
