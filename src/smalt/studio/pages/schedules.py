"""Schedules: which there are and when they run next; of one its times, its jobs; enabled, disabled, run now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following, listed
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

VIEWS = {"": "All", "enabled": "EnabledOnly", "disabled": "DisabledOnly"}
JOBS = 20


async def show(visit: Visit) -> Response:
    given = visit.http.query_params
    cursor, view = await visit.cursor(), given.get("view", "")
    query = {"listViewType": VIEWS.get(view, "All"), "count": str(PAGE)}
    if after := given.get("after"):
        query["$skipToken"] = after
    found = await visit.api.get(f"{visit.workspace}/schedules", query)
    return page(
        "schedules.html",
        visit,
        cursor=cursor,
        schedules=[_shown(one) for one in found["value"]],
        view=view,
        views=VIEWS,
        more=following(found),
        first=not after,
    )


async def show_one(visit: Visit) -> Response:
    cursor = await visit.cursor()
    document = await visit.api.get(_path(visit))
    action = part(document["properties"], "action")
    query = {"scheduleId": document["name"], "listViewType": "All", "count": str(JOBS)}
    if "endpointInvocationDefinition" in action:  # its jobs are the endpoint's
        query |= {"scheduleId": "", "scheduled": "true", "properties": f"azureml.scheduleId={document['name']}"}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    jobs, more = await listed(visit, query)
    return page(
        "schedule.html",
        visit,
        cursor=cursor,
        schedule=_shown(document),
        jobs=jobs,
        more=more,
        times=document["properties"].get("nextRunTimes") or [],
        job=part(action, "jobDefinition"),
        trigger=sorted(_flat(part(document["properties"], "trigger"))),
    )


async def enable(visit: Visit) -> Response:
    await visit.api.patch(_path(visit), {"properties": {"isEnabled": True}})
    return _back(visit)


async def disable(visit: Visit) -> Response:
    await visit.api.patch(_path(visit), {"properties": {"isEnabled": False}})
    return _back(visit)


async def trigger(visit: Visit) -> Response:
    await visit.api.post(f"{_path(visit)}/trigger")
    return _back(visit)


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/schedules/{visit.http.path_params['name']}"


def _back(visit: Visit) -> Response:
    return RedirectResponse(visit.link(f"/schedules/{quote(str(visit.http.path_params['name']))}"), 303, HEADERS)


def _shown(schedule: Document) -> dict[str, Any]:
    properties = schedule["properties"]
    trigger, last = part(properties, "trigger"), part(properties, "lastRun")
    every = f"every {trigger.get('interval') or 1} {str(trigger.get('frequency') or '').lower()}(s)"
    return {
        "id": str(schedule["id"]).lower(),
        "name": schedule["name"],
        "title": properties.get("displayName") or schedule["name"],
        "description": properties.get("description") or "",
        "enabled": bool(properties.get("isEnabled")),
        "when": trigger.get("expression") or every,
        "zone": trigger.get("timeZone") or "UTC",
        "next": properties.get("nextRunTime"),
        "last": last.get("time"),
        "last_job": last.get("jobName") or "",
        "last_error": part(last, "error").get("message") or "",
    }


def _flat(document: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in document.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            found += _flat(value, name)  # pyright: ignore[reportUnknownArgumentType]
        elif value is not None:
            found.append((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))  # pyright: ignore
    return found


ROUTES = (
    get("/schedules", show),
    get("/schedules/{name}", show_one),
    post("/schedules/{name}/enable", enable),
    post("/schedules/{name}/disable", disable),
    post("/schedules/{name}/trigger", trigger),
)
