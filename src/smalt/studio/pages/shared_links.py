"""Links that show one page to whoever has them: made, listed, taken back; and the feed that such a page hears."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse

from smalt.store.document import Document
from smalt.studio.pages.assets import named
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.platform_api import API_VERSION, Refused, Streamed
from smalt.studio.rendering import HEADERS, moment, page, seconds
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

DAYS = (1, 7, 30, 90)
_HEARD = ("after", "kind")
_RESUMED = "last-event-id"


async def show(visit: Visit) -> Response:
    cursor, after = await visit.cursor(), visit.http.query_params.get("after")
    query = {"count": str(PAGE), **({"$skipToken": after} if after else {})}
    found = await visit.api.get(f"{visit.workspace}/sharedLinks", query)
    links = [_shown(visit, one) for one in found["value"]]
    return page("shared_links.html", visit, cursor=cursor, links=links, more=following(found), first=not after)


async def show_one(visit: Visit) -> Response:
    """With the link itself, which is a secret: that it was read is recorded."""
    cursor, link = await visit.cursor(), _shown(visit, await visit.api.get(_path(visit)))
    url = "" if link["over"] else (await visit.api.read_secrets(f"{_path(visit)}/getLink"))["url"]
    return page("shared_link.html", visit, cursor=cursor, link=link, url=url)


async def make(visit: Visit) -> Response:
    """`page`, `resources` (ids with spaces between), `displayName` and `days` of the form."""
    given = visit.fields
    if given.get("days", "") not in map(str, DAYS):
        raise Refused.at("days", "InvalidDays", f"A link is over in {', '.join(map(str, DAYS))} days.")
    ends = datetime.fromtimestamp(moment(), UTC) + timedelta(days=int(given["days"]))
    properties = {
        "displayName": given.get("displayName", "").strip() or None,
        "page": given.get("page", ""),
        "resources": given.get("resources", "").split(),
        "expiresAt": ends.isoformat(timespec="seconds"),
    }
    name = secrets.token_hex(8)
    await visit.api.put(f"{visit.workspace}/sharedLinks/{name}", {"properties": properties})
    return RedirectResponse(visit.link(f"/shared-links/{name}"), 303, HEADERS)


async def take_back(visit: Visit) -> Response:
    await visit.api.delete(_path(visit))
    return RedirectResponse(visit.link("/shared-links"), 303, HEADERS)


async def changes(visit: Visit) -> Response:
    """What happened to the resource that the page shows, as the API's feed tells it; for a guest, who has no API."""
    if visit.shared is None or len(visit.shared.resources) != 1:
        raise Refused(404, "NotFound", "Only a page that is shared has a feed of its own.")
    given = {name: visit.http.query_params[name] for name in _HEARD if name in visit.http.query_params}
    headers = {name: value for name in ("accept", _RESUMED) if (value := visit.http.headers.get(name))}
    query = urlencode({"api-version": API_VERSION, **given})
    stack = AsyncExitStack()
    answer = await stack.enter_async_context(
        visit.api.stream("GET", f"{visit.shared.resources[0]}/changes", query, headers)
    )
    type_ = answer.headers.get("content-type", "")
    return StreamingResponse(_pieces(answer, stack), answer.status, {**HEADERS, "Content-Type": type_})


async def _pieces(answer: Streamed, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in answer.pieces:
            yield piece


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/sharedLinks/{visit.http.path_params['name']}"


def _shown(visit: Visit, link: Document) -> dict[str, Any]:
    properties, made = link["properties"], link["systemData"]
    ids = properties["resources"]
    what, to, _ = named(visit, ids[0])
    if properties["page"] == "jobs":
        what, to = f"{len(ids)} jobs compared", visit.link("/jobs/compare", link=link["name"])
    return {
        "name": link["name"],
        "title": properties.get("displayName") or link["name"],
        "page": "comparison" if properties["page"] == "jobs" else properties["page"],
        "what": what,
        "to": to,
        "own": f"/shared-links/{quote(link['name'])}",
        "ends": properties["expiresAt"],
        "over": (seconds(properties["expiresAt"]) or 0) <= moment(),
        "made": made["createdAt"],
        "by": made.get("createdBy") or "",
    }


ROUTES = (
    get("/shared-links", show),
    post("/shared-links", make),
    get("/shared-links/{name}", show_one),
    post("/shared-links/{name}/take-back", take_back),
    *(
        get(f"{one}/changes", changes, shared=True)
        for one in ("/jobs/{name}", "/models/{name}/{version}", "/endpoints/{name}")
    ),
)
