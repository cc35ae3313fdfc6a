"""One online endpoint: its deployments and their numbers, traffic, a request to try it, alerts; what changed; logs."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import JSONResponse, Response

from smalt.arm.ids import ResourceId
from smalt.store.document import Document, part
from smalt.studio.pages.endpoint_numbers import instances, numbers_of
from smalt.studio.pages.endpoint_snippets import BODY, snippets
from smalt.studio.pages.endpoints import shown
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.platform_api import API_VERSION, Refused
from smalt.studio.rendering import HEADERS, page, seconds
from smalt.studio.routes import get
from smalt.studio.visit import Visit

TABS = {"": "Overview", "traffic": "Traffic and scale", "test": "Test", "alerts": "Alerts"}
CHANGES = 30
MIRROR_MOST = 50  # percent
OPERATORS = {
    "GreaterThan": "above", "GreaterThanOrEqual": "at least", "LessThan": "below", "LessThanOrEqual": "at most",
    "Equals": "as much as",
}  # fmt: skip


async def show(visit: Visit) -> Response:
    tab = visit.http.query_params.get("tab", "")
    tabs = {"": TABS[""]} if visit.guest else TABS
    if tab not in tabs:
        raise Refused(404, "NotFound", f"An endpoint has no tab {tab[:40]!r}.")
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    document, found, history = await asyncio.gather(
        visit.api.get(path_of(visit)),
        visit.api.get(f"{path_of(visit)}/deployments", query),
        visit.api.get(f"{path_of(visit)}/history"),
    )
    endpoint = shown(document)
    deployments = [deployment_of(one, endpoint) for one in found["value"]]
    read = {"": _overview, "traffic": _traffic, "test": _test, "alerts": _alerts}[tab]
    return page(
        "endpoint.html",
        visit,
        cursor=cursor,
        tab=tab,
        tabs=tabs,
        endpoint=endpoint,
        deployments=deployments,
        more=following(found),
        first=not after,
        api_version=API_VERSION,
        changes=history["value"][: -CHANGES - 1 : -1],
        rollbacks=_rollbacks(history),
        **await read(visit, endpoint, deployments),
    )


async def numbers(visit: Visit) -> Response:
    """`?of=requests` or `latency`: columns of the last hour, a minute each."""
    minutes = (await visit.api.get(f"{path_of(visit)}/history"))["minutes"]
    latency = visit.http.query_params.get("of") == "latency"
    names = (
        {"p50 ms": "p50", "p95 ms": "p95", "p99 ms": "p99"} if latency else {"requests": "requests", "failed": "failed"}
    )
    lines = {label: [one[name] for one in minutes] for label, name in names.items()}
    times = [seconds(one["at"]) for one in minutes]
    return JSONResponse({"step": times, "time": times, "lines": lines}, headers=HEADERS)


def path_of(visit: Visit) -> str:
    return f"{visit.workspace}/onlineEndpoints/{visit.http.path_params['name']}"


async def _overview(visit: Visit, endpoint: Document, deployments: list[Document]) -> Document:
    measured, running = await asyncio.gather(numbers_of(visit, endpoint["path"]), instances(visit, endpoint["path"]))
    return {"measured": measured, "instances": running}


def _rollbacks(history: Document) -> dict[str | None, Document]:
    """By the deployment that is named, the first without one."""
    first, *others = history["rollbacks"]
    return {None: first, **{one["deployment"]: one for one in others}}


async def _traffic(visit: Visit, endpoint: Document, deployments: list[Document]) -> Document:
    """All on this page of the list, and all that take something."""
    names = dict.fromkeys([*(one["name"] for one in deployments), *endpoint["traffic"], *endpoint["mirrored"]])
    shares = [(name, _share(endpoint["traffic"], name), _share(endpoint["mirrored"], name)) for name in names]
    return {"shares": shares, "mirror_most": MIRROR_MOST}


async def _test(visit: Visit, endpoint: Document, deployments: list[Document]) -> Document:
    """Without traffic the one deployment is asked, where it is the only one."""
    asked, takes = visit.http.query_params.get("deployment", ""), any(endpoint["traffic"].values())
    if not asked and not takes and len(deployments) == 1:
        asked = deployments[0]["name"]
    return {"snippets": snippets(endpoint), "body": BODY, "asked": asked, "takes_traffic": takes}


async def _alerts(visit: Visit, endpoint: Document, deployments: list[Document]) -> Document:
    group = str(visit.workspace.parent)
    found = await visit.api.get(
        f"{group}/providers/Microsoft.Insights/metricAlerts",
        {"scope": endpoint["id"], "count": str(PAGE), "api-version": "2018-03-01"},
    )
    return {"alerts": [alert(one) for one in found["value"]]}


def alert(document: Document) -> Document:
    """A rule on metrics as pages show it."""
    properties = document["properties"]
    state = part(properties, "alertState")
    return {
        "id": str(document["id"]).lower(),
        "name": document["name"],
        "severity": properties.get("severity", 3),
        "enabled": properties.get("enabled") is not False,
        "state": state.get("monitorCondition") or "Resolved",
        "since": state.get("firedDateTime"),
        "reason": state.get("firedReason") or "",
        "cause": state.get("lastChange") or "",
        "by": state.get("acknowledgedBy") or "",
        "acknowledged": state.get("acknowledgedDateTime"),
        "description": properties.get("description") or "",
        "watches": [_watched(one) for one in properties["scopes"]],
        "rules": [_rule(one) for one in properties["criteria"]["allOf"]],
        "window": properties.get("windowSize") or "",
    }


def _rule(one: Document) -> str:
    over = f"{OPERATORS[one['operator']]} {one['threshold']:.15g}"
    said = f"{one['timeAggregation'].lower()} {one['metricName']} {over}"
    for each in one.get("dimensions") or ():
        word = "not " if each["operator"] == "Exclude" else ""
        said += f" where {each['name']} is {word}{' or '.join(each['values'])}"
    return said


def _watched(scope: str) -> Document:
    """`page`: that of an endpoint (also of a deployment of it) or of a job; empty for others."""
    (kind, name), *below = ResourceId.parse(scope).path[1:] or (("", ""),)
    pages = {"onlineendpoints": "/endpoints/", "jobs": "/jobs/"}
    shown = " / ".join((name, *(one for _, one in below)))
    return {"name": shown, "page": pages.get(kind.lower(), ""), "of": name}


def _share(shares: Document, name: str) -> int:
    return next((share for one, share in shares.items() if one.lower() == name.lower()), 0)


def deployment_of(deployment: Document, endpoint: Document) -> dict[str, Any]:
    properties = deployment["properties"]
    scale = part(properties, "scaleSettings")
    return {
        "path": deployment["id"],
        "id": str(deployment["id"]).lower(),
        "name": deployment["name"],
        "etag": deployment.get("etag") or "",
        "state": properties["provisioningState"],
        "instances": part(deployment, "sku").get("capacity", 1),
        "size": properties.get("instanceType") or "",
        "share": _share(endpoint["traffic"], deployment["name"]),
        "mirrored": _share(endpoint["mirrored"], deployment["name"]),
        "model": str(properties.get("model") or "").partition("/models/")[2].replace("/versions/", ":"),
        "environment": str(properties.get("environmentId") or "")
        .partition("/environments/")[2]
        .replace("/versions/", ":"),
        "created": deployment["systemData"]["createdAt"],
        "scales": scale if scale.get("scaleType") == "TargetUtilization" else None,
        "collections": [
            {
                "name": name,
                "on": one.get("dataCollectionMode") == "Enabled",
                "rate": one.get("samplingRate", 1),
                "data": str(one.get("dataId") or "").rpartition("/data/")[2].replace("/versions/", "/"),
            }
            for name, one in part(part(properties, "dataCollector"), "collections").items()
        ],
    }


ROUTES = (get("/endpoints/{name}", show, shared=True), get("/endpoints/{name}/numbers", numbers, shared=True))
