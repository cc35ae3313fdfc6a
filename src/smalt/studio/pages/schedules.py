"""Schedules: which there are and when they run next; of one its times, its jobs; enabled, disabled, run now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.arm import zones
from smalt.arm.errors import ArmError
from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following, listed
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, moment, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

VIEWS = {"": "All", "enabled": "EnabledOnly", "disabled": "DisabledOnly"}
JOBS = 20


async def show(visit: Visit) -> Response:
    given = visit.http.query_params
    if given.get("as") == "calendar":
        return await _calendar(visit)
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


async def _calendar(visit: Visit) -> Response:
    """`month` (2026-12) and `zone` of the URL: a month with the next times of all that are enabled."""
    given, cursor = visit.http.query_params, await visit.cursor()
    zone = given.get("zone") or "UTC"
    today = datetime.fromtimestamp(moment(), UTC).astimezone(_zone(zone)).date()
    try:
        first = date.fromisoformat(f"{given['month']}-01") if given.get("month") else today.replace(day=1)
    except ValueError:
        raise Refused(400, "InvalidMonth", f"{given['month'][:40]!r} is no month such as 2026-12.") from None
    begin, after = first - timedelta(days=first.weekday()), _next_month(first)
    days = -(-(after - begin).days // 7) * 7
    query = {"from": begin.isoformat(), "days": str(days), "zone": zone}
    found = await visit.api.get(f"{visit.workspace}/scheduleDays", query)
    shown = [_day(one, _zone(zone), first, today) for one in found["value"]]
    return page(
        "schedule_calendar.html",
        visit,
        cursor=cursor,
        weeks=[shown[at : at + 7] for at in range(0, days, 7)],
        month=first,
        before=f"{first - timedelta(days=1):%Y-%m}",
        after=f"{after:%Y-%m}",
        zone=zone,
        more=found["more"],
    )


def _day(day: Document, zone: tzinfo, month: date, today: date) -> dict[str, Any]:
    """`schedules` with their times as clocks show them in the zone."""
    at = date.fromisoformat(day["date"])
    schedules = [
        {**one, "clocks": [datetime.fromisoformat(time).astimezone(zone).strftime("%H:%M") for time in one["times"]]}
        for one in day["schedules"]
    ]
    other = (at.year, at.month) != (month.year, month.month)
    return {"date": at, "other": other, "over": at < today, "today": at == today, "schedules": schedules}


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _zone(name: str) -> tzinfo:
    """Raises Refused(400)."""
    try:
        return zones.zone(name, "zone")
    except ArmError as error:
        raise Refused(error.status, error.code, error.message) from None


async def show_one(visit: Visit) -> Response:
    cursor = await visit.cursor()
    document = await visit.api.get(_path(visit))
    action = part(document["properties"], "action")
    query = {"scheduleId": document["name"], "listViewType": "All", "count": str(JOBS)}
    if "endpointInvocationDefinition" in action:  # its jobs are the endpoint's
        query |= {"scheduleId": "", "scheduled": "true", "properties": f"azureml.scheduleId={document['name']}"}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    (jobs, more), history = await asyncio.gather(listed(visit, query), visit.api.get(f"{_path(visit)}/history"))
    return page(
        "schedule.html",
        visit,
        cursor=cursor,
        schedule=_shown(document),
        jobs=jobs,
        more=more,
        history=history["value"],
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
