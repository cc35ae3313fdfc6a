"""One compute: its nodes and what runs on each, who waits, what it uses; an instance with its programs and its log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.computes import INSTANCE, minutes, shown
from smalt.studio.platform_api import API_VERSION, Refused, meaning
from smalt.studio.rendering import HEADERS, page, seconds
from smalt.studio.routes import Handler, get, post
from smalt.studio.visit import Visit

_METRICS = {
    "cpu": ("CpuUtilizationMillicores", "processors", 1000.0),
    "memory": ("CpuMemoryUtilizationMegabytes", "MB", 1.0),
    "nodes": ("ActiveNodes", "busy nodes, mean of the minute", 1.0),
}
_CRON = "Cron"
_TIMES = (("Start", "start"), ("Stop", "stop"))  # what is done at a time, and the field that has it
_EXPRESSION = "properties.properties.schedules.computeStartStop[{}].cron.expression"


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    document = await visit.api.get(_path(visit))
    if "properties" not in document:
        raise Refused(404, "NotFound", f"There is no compute {_name(visit)!r}.")
    queue, events, quotas = await asyncio.gather(
        visit.api.get(f"{visit.workspace}/queues/{document['name']}"),
        visit.api.get(f"{_path(visit)}/events"),
        visit.api.get(f"/subscriptions/{visit.workspace.subscription}{_QUOTAS}"),
    )
    compute = shown(document, queue["properties"])
    instance = document["properties"]["computeType"] == INSTANCE
    return page(
        "compute.html",
        visit,
        cursor=cursor,
        compute=compute,
        queue=queue["properties"],
        events=events["value"][-20:],
        machine=part(document["properties"], "properties"),
        programs=[one for one in compute["applications"] if one["displayName"] != "Jupyter"] if instance else [],
        idle=_minutes(document) if instance else "",
        times=_times(compute["schedules"]),
        path=_path(visit),
        api_version=API_VERSION,
        quotas=[one for one in quotas["value"] if one["id"].lower().startswith(visit.workspace.key)],
        charts=[("cpu", "Processors"), ("memory", "Memory, MB")] if instance else [("nodes", "Nodes that jobs have")],
    )


_QUOTAS = "/providers/Microsoft.MachineLearningServices/locations/local/quotas"


async def numbers(visit: Visit) -> Response:
    """`?of=cpu`, `memory` or `nodes`: columns of the last hour, a minute each."""
    metric, label, part_ = _METRICS.get(visit.http.query_params.get("of", ""), _METRICS["cpu"])
    query = {"metricnames": metric, "timespan": "PT1H", "interval": "PT1M", "aggregation": "Average"}
    found = await visit.api.get(f"{_path(visit)}/providers/Microsoft.Insights/metrics", query)
    points = [one for series in found["value"][0]["timeseries"] for one in series["data"] if "average" in one]
    times = [seconds(one["timeStamp"]) for one in points]
    values = [None if one["average"] is None else one["average"] / part_ for one in points]
    return JSONResponse({"step": times, "time": times, "lines": {label: values}}, headers=HEADERS)


def _act(action: str) -> Handler:
    async def run(visit: Visit) -> Response:
        await visit.api.post(f"{_path(visit)}/{action}")
        return _back(visit)

    return run


async def change(visit: Visit) -> Response:
    """The idle time, and one time each to start and to stop; what is left empty is taken away. Recurrences stay.

    `etag`: of what was shown.
    """
    given, document = visit.fields, await visit.api.get(_path(visit))
    known = shown(document, {})["schedules"]
    schedules: list[Document] = [one for one in known if one["triggerType"] != _CRON]
    times = [(action, field) for action, field in _TIMES if given.get(field, "").strip()]
    fields = {_EXPRESSION.format(at): field for at, (_, field) in enumerate(times, len(schedules))}
    schedules += [
        {
            "action": action,
            "triggerType": _CRON,
            "status": "Enabled",
            "cron": {"expression": given[field].strip(), "timeZone": given.get("zone", "").strip() or "UTC"},
        }
        for action, field in times
    ]
    machine: Document = {
        "idleTimeBeforeShutdown": minutes(given.get("idle", "").strip()) or None,
        "schedules": {"computeStartStop": schedules},
    }
    with meaning(**fields):
        await visit.change(_path(visit), {"properties": {"properties": machine}})
    return _back(visit)


async def delete(visit: Visit) -> Response:
    await visit.api.delete(_path(visit))
    return RedirectResponse(visit.link("/computes"), 303, HEADERS)


def _times(schedules: Sequence[Document]) -> dict[str, str]:
    """What the form shows: of each action the expression, and the zone."""
    crons = {one["action"]: one["cron"] for one in schedules if one["triggerType"] == _CRON}
    zone = next((str(one.get("timeZone") or "UTC") for one in crons.values()), "UTC")
    return {"zone": zone, **{name: crons.get(name, {}).get("expression", "") for name in ("Start", "Stop")}}


def _name(visit: Visit) -> str:
    return str(visit.http.path_params["name"])


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/computes/{_name(visit)}"


def _back(visit: Visit) -> Response:
    return RedirectResponse(visit.link(f"/computes/{quote(_name(visit))}"), 303, HEADERS)


def _minutes(document: Document) -> str:
    text = str(part(document["properties"], "properties").get("idleTimeBeforeShutdown") or "")
    return text.removeprefix("PT").removesuffix("M") if text.endswith("M") else ""


ROUTES = (
    get("/computes/{name}", show),
    get("/computes/{name}/numbers", numbers),
    *(post(f"/computes/{{name}}/{action}", _act(action)) for action in ("start", "stop", "restart")),
    post("/computes/{name}/change", change),
    post("/computes/{name}/delete", delete),
)
