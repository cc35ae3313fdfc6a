"""The workspace as it is set, this session, and its end."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from smalt.auth.sessions import SESSION_LIFETIME_S
from smalt.store.document import part
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import ROOT, Visit


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    workspace = await visit.api.get(str(visit.workspace))
    properties = workspace["properties"]
    shown = {
        "name": workspace["name"],
        "title": properties.get("friendlyName") or "",
        "description": properties.get("description") or "",
        "location": workspace.get("location") or "",
        "id": workspace["id"],
        "made": workspace["systemData"]["createdAt"],
        "etag": workspace.get("etag") or "",
        "storage": str(properties.get("storageAccount") or "").rpartition("/")[2],
        "tags": sorted(part(workspace, "tags").items()),
    }
    ends = visit.sessions.ends_at(visit.http.scope["headers"]) or 0.0
    begun, over = (datetime.fromtimestamp(at, UTC).isoformat() for at in (ends - SESSION_LIFETIME_S, ends))
    return page("settings.html", visit, cursor=cursor, shown=shown, begun=begun, over=over)


async def change(visit: Visit) -> Response:
    """Its name as shown, and its description."""
    wanted = {"friendlyName": visit.fields.get("title", ""), "description": visit.fields.get("description", "")}
    await visit.change(str(visit.workspace), {"properties": wanted})
    return RedirectResponse(visit.link("/settings"), 303, HEADERS)


async def sign_out(visit: Visit) -> Response:
    """This browser; with `everywhere`, all that have signed in until now."""
    everywhere = bool(visit.fields.get("everywhere"))
    cookie = await run_in_threadpool(visit.sessions.end, visit.http.scope["headers"], everywhere)
    return RedirectResponse(f"{ROOT}/sign-in", 303, {**HEADERS, "Set-Cookie": cookie})


ROUTES = (get("/settings", show), post("/settings", change), post("/sign-out", sign_out))
