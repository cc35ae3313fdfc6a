"""Batch endpoints: which there are; of one its deployments, the default, a request to it, and the jobs it made."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.pages.jobs import PAGE, following
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

JOBS = 20
INPUT_TYPES = {"UriFolder": "a folder", "UriFile": "a file", "MLTable": "an MLTable", "Literal": "a value"}
INPUTS = 4  # rows of the form


async def show(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    found = await visit.api.get(f"{visit.workspace}/batchEndpoints", query)
    endpoints = [_shown(one) for one in found["value"]]
    return page(
        "batch_endpoints.html", visit, cursor=cursor, endpoints=endpoints, more=following(found), first=not after
    )


async def show_one(visit: Visit) -> Response:
    cursor = await visit.cursor()
    query = {"count": str(PAGE)}
    if after := visit.http.query_params.get("after"):
        query["$skipToken"] = after
    document, deployments, jobs = await asyncio.gather(
        visit.api.get(_path(visit)),
        visit.api.get(f"{_path(visit)}/deployments", query),
        visit.api.get(f"{_path(visit)}/jobs", {"count": str(JOBS)}),
    )
    return page(
        "batch_endpoint.html",
        visit,
        cursor=cursor,
        endpoint=_shown(document),
        more=following(deployments),
        deployments=[_deployment(one) for one in deployments["value"]],
        first=not after,
        types=INPUT_TYPES,
        jobs=[_job(visit, one) for one in jobs["value"]],
        rows=range(INPUTS),
    )


async def set_default(visit: Visit) -> Response:
    wanted = {"defaults": {"deploymentName": visit.fields.get("deployment", "")}}
    await visit.change(_path(visit), {"properties": wanted})
    return _back(visit)


async def invoke(visit: Visit) -> Response:
    """Fields `name-N`, `type-N`, `value-N`, and `deployment`, where the default is not meant."""
    rows = [[visit.fields.get(f"{one}-{at}", "").strip() for one in ("name", "type", "value")] for at in range(INPUTS)]
    inputs = {name: _input(kind, value) for name, kind, value in rows if name and value}
    deployment = visit.fields.get("deployment", "")
    headers = {"azureml-model-deployment": deployment} if deployment else {}
    found = await visit.api.post(f"{_path(visit)}/jobs", {"properties": {"inputData": inputs}}, headers)
    return RedirectResponse(visit.link(f"/jobs/{quote(str(found['name']))}"), 303, HEADERS)


async def delete(visit: Visit) -> Response:
    await visit.api.delete(_path(visit))
    return RedirectResponse(visit.link("/batch-endpoints"), 303, HEADERS)


async def delete_deployment(visit: Visit) -> Response:
    await visit.api.delete(f"{_path(visit)}/deployments/{visit.http.path_params['deployment']}")
    return _back(visit)


def _input(kind: str, given: str) -> Document:
    """Raises Refused(400)."""
    if kind not in INPUT_TYPES:
        raise Refused(400, "InvalidInput", f"{kind[:40]!r} is no type of an input.")
    return {"jobInputType": kind, ("value" if kind == "Literal" else "uri"): given}


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/batchEndpoints/{visit.http.path_params['name']}"


def _back(visit: Visit) -> Response:
    return RedirectResponse(visit.link(f"/batch-endpoints/{quote(visit.http.path_params['name'])}"), 303, HEADERS)


def _shown(endpoint: Document) -> dict[str, Any]:
    properties = endpoint["properties"]
    return {
        "id": str(endpoint["id"]).lower(),
        "name": endpoint["name"],
        "etag": endpoint.get("etag") or "",
        "state": properties["provisioningState"],
        "default": part(properties, "defaults").get("deploymentName") or "",
        "uri": properties.get("scoringUri") or "",
        "description": properties.get("description") or "",
        "created": endpoint["systemData"]["createdAt"],
    }


def _deployment(deployment: Document) -> dict[str, Any]:
    properties = deployment["properties"]
    component = str(part(properties, "deploymentConfiguration").get("componentId") or "")
    model = str(part(properties, "model").get("assetId") or "")
    return {
        "id": str(deployment["id"]).lower(),
        "name": deployment["name"],
        "state": properties["provisioningState"],
        "runs": (model.rpartition("/models/")[2] or component.rpartition("/components/")[2]).replace("/versions/", ":"),
        "kind": "model" if model else "pipeline component",
        "compute": str(properties.get("compute") or "").rpartition("/")[2],
        "files": properties.get("miniBatchSize") if model else None,
        "created": deployment["systemData"]["createdAt"],
    }


def _job(visit: Visit, job: Document) -> dict[str, Any]:
    properties = job["properties"]
    return {
        "id": visit.workspace.child("jobs", job["name"]).key,
        "name": job["name"],
        "status": properties["status"],
        "created": part(job, "systemData").get("createdAt"),
    }


ROUTES = (
    get("/batch-endpoints", show),
    get("/batch-endpoints/{name}", show_one),
    post("/batch-endpoints/{name}/default", set_default),
    post("/batch-endpoints/{name}/invoke", invoke),
    post("/batch-endpoints/{name}/delete", delete),
    post("/batch-endpoints/{name}/deployments/{deployment}/delete", delete_deployment),
)
