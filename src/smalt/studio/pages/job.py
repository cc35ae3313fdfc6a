"""One job: how it stands and why, what it logged, its text, what it was made from; and what one may do with it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, RedirectResponse, Response

from smalt.arm.runs import HELD_UNTIL, HELD_WHY
from smalt.store.document import Document, part
from smalt.studio.documents.notebook_form import PROPERTY as NOTEBOOK
from smalt.studio.files.answers import file_routes
from smalt.studio.files.browser import browsed
from smalt.studio.files.place import of_version
from smalt.studio.files.reading import Files
from smalt.studio.pages.assets import lineage, named
from smalt.studio.pages.commit import page_of
from smalt.studio.pages.job_files import files_of, local
from smalt.studio.pages.job_shell import ways_in
from smalt.studio.pages.job_use import USES
from smalt.studio.pages.jobs import shown, standing
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
SHARED = {"origin": "Environment"}  # its code is no part of a page that is shared
OF_TYPE = {"steps": "Pipeline", "trials": "Sweep"}  # tabs that only jobs of one type have
_OF_JOB = re.compile(r"(?:azureml://jobs/|ExperimentRun/dcid\.)([^/]+)")
POSITION = "smalt.queue_position"
WAITING = ("NotStarted", "Preparing", "Queued", "Starting")
PRIORITIES = ("low", "medium", "high")  # 1, 2, 3
AXES = {"step": "step", "relative": "time since its start", "time": "time"}
CHILDREN = 50
PARAMETERS = 200
HISTORY = 30
FIRST_LOGS = ("user_logs/std_log.txt", "logs/azureml/executionlogs.txt", "azureml-logs/hyperdrive.txt")


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
    job = {**shown(document), "etag": document.get("etag") or "", **_more(document["properties"], run, happened)}
    tabs = {key: label for key, label in TABS.items() if OF_TYPE.get(key) in (None, job["type"])}
    tabs = {**tabs, **SHARED} if visit.guest else tabs
    if tab not in tabs:
        raise Refused(404, "NotFound", f"A job of the type {job['type']} has no tab {tab!r}.")
    values: Document = {"cursor": cursor, "tab": tab, "tabs": tabs, "job": job, "events": happened}
    values |= {"parent": run.get("parentRunId"), "ways": ways_in(visit, document)}
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
    given = visit.http.query_params
    parameters = sorted(one for one in part(properties, "parameters").items() if one[0] > given.get("parameter", ""))
    after = given.get("after")
    query = {"$top": str(CHILDREN), **({"$continuationtoken": after} if after else {})}
    children, near = await asyncio.gather(
        visit.api.get(_run(visit, "/children"), query), lineage(visit, _path(visit), depth=1)
    )
    latest, more = await visit.logged.latest(visit.workspace.key, document["name"])
    return {
        "latest": latest,
        "more_metrics": more,
        "parameters": parameters[:PARAMETERS],
        "more_parameters": max(0, len(parameters) - PARAMETERS),
        "parameter": given.get("parameter", ""),
        "inputs": _ports(visit, properties, "inputs", "jobInputType"),
        "outputs": _ports(visit, properties, "outputs", "jobOutputType"),
        "lineage": near,
        "children": sorted(
            map(_child, children["value"]), key=lambda one: one.get("startTimeUtc") or "~"
        ),  # as they ran
        "more_children": children.get("continuationToken"),
    }


async def _metrics(visit: Visit, document: Document) -> Document:
    given = visit.http.query_params
    axis = given.get("axis") if given.get("axis") in AXES else "step"
    after = given.get("after", "")
    latest, more = await visit.logged.latest(visit.workspace.key, document["name"], after)
    return {
        "latest": latest,
        "more_metrics": more,
        "after": after,
        "axis": axis,
        "scale": given.get("scale", ""),
        "smooth": given.get("smooth", ""),
        "axes": AXES,
        "uses": USES,
    }


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
    return JSONResponse(await _logs_of(visit), headers=HEADERS)


async def prioritise(visit: Visit) -> Response:
    """`priority` of the form, while the job waits for nodes, and the `etag` of what was shown."""
    given = visit.fields.get("priority", "")
    if given not in PRIORITIES:
        raise Refused(400, "UnknownPriority", f"A priority is {', '.join(PRIORITIES)}; not {given[:40]!r}.")
    wanted = {"queueSettings": {"priority": PRIORITIES.index(given) + 1}}
    await visit.change(_path(visit), {"properties": wanted})
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
    """With the size of the one that is shown, so that a browser reads its end at once."""
    there, asked = await _logs_of(visit), visit.http.query_params.get("file", "")
    if first := asked if asked in there["files"] else there["first"]:
        with suppress(Refused):  # gone meanwhile, or of a name that is no path: the browser asks for it by itself
            file = await visit.api.get(f"{_path(visit)}/file", {"path": first})
            there |= {"first": first, "size": file["size"]}
    return {"file": asked, "there": json.dumps(there)}


async def _logs_of(visit: Visit) -> Document:
    """The job's status; its logs by name, each with a link of this origin that reads it (in pieces, by `Range`).

    `first`: the one to show, if there is any.
    """
    details = await visit.api.get(_run(visit, "/details"))
    files = {name: local(url) for name, url in details["logFiles"].items()}
    first = next((name for name in FIRST_LOGS if name in files), next(iter(files), None))
    return {"status": details["status"], "files": files, "first": first}


async def _origin(visit: Visit, document: Document) -> Document:
    """Of a guest the environment alone."""
    what = "environment" if visit.guest else "provenance"
    found, details = await asyncio.gather(
        visit.api.get(f"{_path(visit)}/{what}"), visit.api.get(_run(visit, "/details"))
    )
    made: Document = {"environment": found} if visit.guest else found
    warnings = [one["message"] for one in details["warnings"]]
    return {
        "made": made,
        "lock": sorted(part(made["environment"], "lock").items()),
        "warnings": warnings,
        "commit": page_of(part(made, "git")),
        "environment": _asset(visit, made["environment"].get("id")),
        "to": visit.link,
        "browser": await browsed(visit, _files(visit, made["code"])) if _is_id(made.get("code")) else None,
    }


async def code_of(visit: Visit, name: str) -> Files:
    """The files of its code. Raises Refused(404) where none was uploaded."""
    made = await visit.api.get(f"{visit.workspace}/jobs/{name}/provenance")
    if not _is_id(made.get("code")):
        raise Refused(404, "NotFound", f"Job {name} has no code that was uploaded.")
    return await _files(visit, made["code"])


async def _code(visit: Visit) -> Files:
    return await code_of(visit, _name(visit))


async def _files(visit: Visit, code: str) -> Files:
    version = await visit.api.get(code)
    return Files(visit.api, await of_version(visit, version, str(version["properties"]["codeUri"]), True))


def _is_id(text: Any) -> bool:
    return str(text or "").startswith("/subscriptions/")


def _asset(visit: Visit, id_: str | None) -> tuple[str, str]:
    """`NAME:VERSION` and its page, where there is one; what is no id as it is."""
    return named(visit, str(id_))[:2] if _is_id(id_) else (id_ or "", "")


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
    services = {name: one for name, one in part(properties, "services").items() if name not in ("Studio", "Tracking")}
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
        "held": {"until": kept[HELD_UNTIL], "why": kept[HELD_WHY]} if HELD_UNTIL in kept else None,
        "waits": happened[-1].get("reason") if happened and properties["status"] in WAITING else None,
        "position": kept.get(POSITION),
        "priority": PRIORITIES[int(part(properties, "queueSettings").get("priority") or 2) - 1],
        "over": properties["status"] in ENDED,
        "notebook": str(kept.get(NOTEBOOK) or "").rpartition("/"),
        "services": services,
        "starting": any(one.get("status") == "Starting" for one in services.values()),  # which no change tells
    }


def _child(run: Document) -> Document:
    return {**run, "status": standing(run["status"], part(run, "properties").get(HELD_WHY))}


def _ports(visit: Visit, properties: Mapping[str, Any], name: str, kind: str) -> list[Document]:
    """Inputs or outputs: name, type, and value or place."""
    ports = part(properties, name).items()
    return [
        {
            "name": port,
            "type": "value" if one.get(kind) == "literal" else one.get(kind) or "",
            "value": one.get("value") or "",
            "uri": one.get("uri") or "",
            "asset": _asset(visit, one["uri"]) if _is_id(one.get("uri")) else None,
            "job": found[1] if (found := _OF_JOB.search(str(one.get("uri") or ""))) else "",
        }
        for port, one in sorted(ports)
        if one
    ]


ROUTES = (
    get("/jobs/{name}", show, shared=True),
    get("/jobs/{name}/code", show),
    *file_routes("/jobs/{name}/code", _code),
    get("/jobs/{name}/metrics", points, shared=True),
    get("/jobs/{name}/mlflow", mlflow),
    get("/jobs/{name}/logs", logs, shared=True),
    post("/jobs/{name}/cancel", cancel),
    post("/jobs/{name}/priority", prioritise),
    post("/jobs/{name}/archive", archive),
    post("/jobs/{name}/restore", restore),
)
