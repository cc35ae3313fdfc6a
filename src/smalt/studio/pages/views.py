"""Views: what a list shows, kept by the server under a name, for oneself or for the workspace; each has a URL."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

OFFERED = 200  # above a list: the newest
_DROPPED = ("wsid", "after", "share")  # of a URL what is no part of a view


async def of_list(visit: Visit, name: str) -> list[dict[str, Any]]:
    """The views of a list, as it offers them, by name."""
    found = await visit.api.get(f"{visit.workspace}/savedViews", {"page": name, "count": str(OFFERED)})
    return sorted((_shown(visit, one) for one in found["value"]), key=lambda one: one["title"].lower())


async def show(visit: Visit) -> Response:
    cursor, after = await visit.cursor(), visit.http.query_params.get("after")
    query = {"count": str(PAGE), **({"$skipToken": after} if after else {})}
    found = await visit.api.get(f"{visit.workspace}/savedViews", query)
    views = [_shown(visit, one) for one in found["value"]]
    return page("views.html", visit, cursor=cursor, views=views, more=following(found), first=not after)


async def open_one(visit: Visit) -> Response:
    """To the list, as the view has it now."""
    return _to_list(visit, (await visit.api.get(_path(visit)))["properties"]["query"])


async def keep(visit: Visit) -> Response:
    """`displayName`, `query` and, where it is for all, `shared` of the form."""
    name, query = secrets.token_hex(6), _cleaned(visit.fields.get("query", ""))
    title, shared = visit.fields.get("displayName", ""), bool(visit.fields.get("shared"))
    properties = {"displayName": title, "page": "jobs", "query": query, "shared": shared}
    await visit.api.put(f"{visit.workspace}/savedViews/{name}", {"properties": properties})
    return _to_list(visit, query)


async def change(visit: Visit) -> Response:
    """Its name, and whether it is for all."""
    wanted = {"displayName": visit.fields.get("displayName", ""), "shared": bool(visit.fields.get("shared"))}
    await visit.change(_path(visit), {"properties": wanted})
    return RedirectResponse(visit.link("/views"), 303, HEADERS)


async def delete(visit: Visit) -> Response:
    await visit.api.delete(_path(visit))
    return RedirectResponse(visit.link("/views"), 303, HEADERS)


def _to_list(visit: Visit, query: str) -> Response:
    return RedirectResponse(visit.link("/jobs", **dict(parse_qsl(query))), 303, HEADERS)


def _cleaned(query: str) -> str:
    pairs = parse_qsl(query.removeprefix("?"))
    return urlencode([(name, value) for name, value in pairs if name not in _DROPPED])


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/savedViews/{visit.http.path_params['name']}"


def _shown(visit: Visit, view: Document) -> dict[str, Any]:
    properties, made = view["properties"], view["systemData"]
    return {
        "name": view["name"],
        "title": properties["displayName"],
        "to": visit.link(f"/views/{quote(view['name'])}"),
        "query": properties["query"],
        "asks": parse_qsl(properties["query"]),
        "shared": bool(properties.get("shared")),
        "etag": view.get("etag") or "",
        "by": made.get("createdBy") or "",
        "changed": made.get("lastModifiedAt") or made["createdAt"],
    }


ROUTES = (
    get("/views", show),
    post("/views", keep),
    get("/views/{name}", open_one),
    post("/views/{name}/change", change),
    post("/views/{name}/delete", delete),
)
