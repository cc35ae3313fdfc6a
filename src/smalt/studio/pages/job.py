"""One job: how it stands and why, what it logged, its text, what it was made from; and what one may do with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.job_files import files_of, local
from smalt.studio.pages.job_use import USES
from smalt.studio.pages.jobs import shown
from smalt.studio.pages.pipeline import steps_of
from smalt.studio.pages.sweep import trials_of
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import ENDED, HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

TABS = {
    "": "Overview",
    "steps": "Steps",
    "trials": "Trials",
    "metrics": "Metrics",
    "logs": "Logs",
    "artifacts": "Artifacts",
    "origin": "Code and environment",
}
OF_TYPE = {"steps": "Pipeline", "trials": "Sweep"}  # tabs that only jobs of one type have
_OF_JOB = re.compile(r"(?:azureml://jobs/|ExperimentRun/dcid\.)([^/]+)")
POSITION = "smalt.queue_position"
WAITING = ("NotStarted", "Preparing", "Queued", "Starting")
PRIORITIES = ("low", "medium", "high")  # 1, 2, 3
AXES = {"step": "step", "relative": "time since its start", "time": "time"}
CHILDREN = 50
PARAMETERS = 200
HISTORY = 30


async def show(visit: Visit) -> Response:
    tab = visit.http.query_params.get("tab", "")
    if tab not in TABS:
        raise Refused(404, "NotFound", f"A job has no tab {tab[:40]!r}.")
    cursor = await visit.cursor()
    document, run, events = await asyncio.gather(
        visit.api.get(_path(visit)), visit.api.get(_run(visit, "")), visit.api.get(f"{_path(visit)}/events")
    )
    if "properties" not in document:  # the name is one that means something else to the API
        raise Refused(404, "NotFound", f"There is no job {_name(visit)!r}.")
    happened = events["value"][-HISTORY:]
    job = {**shown(document), **_more(document["properties"], run, happened)}
    tabs = {key: label for key, label in TABS.items() if OF_TYPE.get(key) in (None, job["type"])}
    if tab not in tabs:
        raise Refused(404, "NotFound", f"A job of the type {job['type']} has no tab {tab!r}.")
    values: Document = {"cursor": cursor, "tab": tab, "tabs": tabs, "job": job, "events": happened}
    values["parent"] = run.get("parentRunId")
    read = {
        "": _overview,
        "steps": steps_of,
        "trials": trials_of,
        "metrics": _metrics,
        "logs": _logs,
        "artifacts": files_of,
        "origin": _origin,
    }[tab]
    return page("job.html", visit, **values, **await read(visit, document))


async def _overview(visit: Visit, document: Document) -> Document:
    properties = document["properties"]
    parameters = sorted(part(properties, "parameters").items())
    after = visit.http.query_params.get("after")
    query = {"$top": str(CHILDREN), **({"$continuationtoken": after} if after else {})}
    children, lineage = await asyncio.gather(
        visit.api.get(_run(visit, "/children"), query), visit.api.get(f"{_path(visit)}/lineage", {"depth": "1"})
    )
    return {
        "latest": await visit.logged.latest(visit.workspace.key, document["name"]),
        "parameters": parameters[:PARAMETERS],
        "more_parameters": max(0, len(parameters) - PARAMETERS),
        "inputs": _ports(properties, "inputs", "jobInputType"),
        "outputs": _ports(properties, "outputs", "jobOutputType"),
        "lineage": _lineage(visit, lineage),
        "children": sorted(children["value"], key=lambda one: one.get("startTimeUtc") or "~"),  # as they ran
        "more_children": children.get("continuationToken"),
    }


async def _metrics(visit: Visit, document: Document) -> Document:
    given = visit.http.query_params
    axis = given.get("axis") if given.get("axis") in AXES else "step"
    latest = await visit.logged.latest(visit.workspace.key, document["name"])
    return {
        "latest": latest, "axis": axis, "scale": given.get("scale", ""), "smooth": given.get("smooth", ""),
        "axes": AXES, "uses": USES,
    }  # fmt: skip


async def points(visit: Visit) -> Response:
    """`?metric=NAME`: the columns of one chart. Who may not read the job is refused by the API."""
    name = (await visit.api.get(_run(visit, "")))["runId"]
    metric = visit.http.query_params.get("metric", "")
    found = await visit.logged.line(visit.workspace.key, name, metric)
    return JSONResponse(found, headers=HEADERS)


async def mlflow(visit: Visit) -> Response:
    """To the job's run in MLflow's own pages, which have its artifacts."""
    name = (await visit.api.get(_run(visit, "")))["runId"]
    run = await visit.logged.run(visit.workspace.key, name)
    if run is None:
        raise Refused(404, "NotFound", f"Job {name} has no run in MLflow yet: it begins with the job's start.")
    place = f"/mlflow/v1.0{visit.workspace}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    return RedirectResponse(place, 303, HEADERS)


async def logs(visit: Visit) -> Response:
    """The job's logs by name, each with a link of this origin that reads it (in pieces, by `Range`); and its status."""
    details = await visit.api.get(_run(visit, "/details"))
    files = {name: local(url) for name, url in details["logFiles"].items()}
    return JSONResponse({"status": details["status"], "files": files}, headers=HEADERS)


async def prioritise(visit: Visit) -> Response:
    """`priority` of the form, while the job waits for nodes."""
    given = visit.fields.get("priority", "")
    if given not in PRIORITIES:
        raise Refused(400, "UnknownPriority", f"A priority is {', '.join(PRIORITIES)}; not {given[:40]!r}.")
    wanted = {"queueSettings": {"priority": PRIORITIES.index(given) + 1}}
    await visit.api.patch(_path(visit), {"properties": wanted})
    return _back(visit)


async def cancel(visit: Visit) -> Response:
    await visit.api.post(f"{_path(visit)}/cancel")
    return _back(visit)


async def archive(visit: Visit) -> Response:
    await visit.api.patch(_run(visit, ""), {"hidden": True})
    return _back(visit)


async def restore(visit: Visit) -> Response:
    await visit.api.patch(_run(visit, ""), {"hidden": False})
    return _back(visit)


async def _logs(visit: Visit, document: Document) -> Document:
    return {"file": visit.http.query_params.get("file", "")}


async def _origin(visit: Visit, document: Document) -> Document:
    made, details = await asyncio.gather(
        visit.api.get(f"{_path(visit)}/provenance"), visit.api.get(_run(visit, "/details"))
    )
    warnings = [one["message"] for one in details["warnings"]]
    return {"made": made, "lock": sorted(part(made["environment"], "lock").items()), "warnings": warnings}


def _name(visit: Visit) -> str:
    return str(visit.http.path_params["name"])


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/jobs/{_name(visit)}"


def _run(visit: Visit, what: str) -> str:
    return f"/history/v1.0{visit.workspace}/runs/{_name(visit)}{what}"


def _back(visit: Visit) -> Response:
    """A reload of what comes then sends no form again."""
    return RedirectResponse(visit.link(f"/jobs/{quote(_name(visit))}"), 303, HEADERS)


def _more(properties: Document, run: Document, happened: Sequence[Document]) -> Document:
    """Of a job's documents what its page shows above its tabs. `happened`: the last is the newest."""
    kept = part(properties, "properties")
    services = part(properties, "services")
    error = part(part(run, "error"), "error")
    return {
        "description": properties.get("description") or "",
        "command": properties.get("command") or "",
        "runs": bool(
            properties.get("command")
            or properties.get("jobs")
            or properties.get("trial")
            or properties.get("componentId")
        ),
        "compute": str(properties.get("computeId") or "serverless").rpartition("/")[2],
        "tags": sorted(part(properties, "tags").items()),
        "started": run.get("startTimeUtc"),
        "ended": run.get("endTimeUtc"),
        "error": error.get("message") or "",
        "waits": happened[-1].get("reason") if happened and properties["status"] in WAITING else None,
        "position": kept.get(POSITION),
        "priority": PRIORITIES[int(part(properties, "queueSettings").get("priority") or 2) - 1],
        "over": properties["status"] in ENDED,
        "services": {name: one for name, one in services.items() if name not in ("Studio", "Tracking")},
    }


def _lineage(visit: Visit, found: Document) -> list[tuple[str, list[Document]]]:
    """What the job came from and what came of it, each with a page of its own where there is one."""
    told: dict[str, list[Document]] = {"It came from": [], "What came of it": []}
    for node in found["nodes"]:
        if node["distance"] and not node.get("deletedAt"):
            one = {"name": node["name"], "type": node["type"].rpartition("workspaces/")[2], "page": ""}
            parts = str(node["id"]).partition("/workspaces/")[2].split("/")[1:]
            if len(parts) == 2 and parts[0] == "jobs":
                one["page"] = visit.link(f"/jobs/{quote(parts[1])}")
            elif len(parts) == 4 and parts[0] in ("models", "data") and parts[2] == "versions":
                one |= {
                    "name": f"{parts[1]}:{parts[3]}",
                    "page": visit.link(f"/{parts[0]}/{quote(parts[1])}/{quote(parts[3])}"),
                }
            told["It came from" if node["distance"] > 0 else "What came of it"].append(one)
    return [(label, nodes) for label, nodes in told.items() if nodes]


def _ports(properties: Mapping[str, Any], name: str, kind: str) -> list[Document]:
    """Inputs or outputs: name, type, and value or place."""
    ports = part(properties, name).items()
    return [
        {
            "name": port,
            "type": "value" if one.get(kind) == "literal" else one.get(kind) or "",
            "value": one.get("value") or "",
            "uri": one.get("uri") or "",
            "job": found[1] if (found := _OF_JOB.search(str(one.get("uri") or ""))) else "",
        }
        for port, one in sorted(ports)
        if one
    ]


ROUTES = (
    get("/jobs/{name}", show),
    get("/jobs/{name}/metrics", points),
    get("/jobs/{name}/mlflow", mlflow),
    get("/jobs/{name}/logs", logs),
    post("/jobs/{name}/cancel", cancel),
    post("/jobs/{name}/priority", prioritise),
    post("/jobs/{name}/archive", archive),
    post("/jobs/{name}/restore", restore),
)
