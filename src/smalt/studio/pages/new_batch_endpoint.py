"""A model behind a batch endpoint; seen as YAML and SDK code before."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document
from smalt.studio.documents import batch_deployment
from smalt.studio.documents.written import Faulty, dump
from smalt.studio.pages.new_endpoint import COLOURS, exists, name_for, newest
from smalt.studio.pages.rehearsed import as_refused, segment
from smalt.studio.platform_api import Refused, meaning
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit


async def show(visit: Visit) -> Response:
    """`?model=NAME:VERSION`, `?endpoint=NAME` of one that there is. The default is set unasked where there is none."""
    model, endpoint = (visit.http.query_params.get(name, "") for name in ("model", "endpoint"))
    endpoint = endpoint or name_for(model)
    models, endpoints, environments, computes, there = await asyncio.gather(
        newest(visit, "models"),
        newest(visit, "batchEndpoints"),
        newest(visit, "environments"),
        newest(visit, "computes"),
        _taken(visit, endpoint),
    )
    return page(
        "new_batch_endpoint.html",
        visit,
        model=model,
        endpoint=endpoint,
        deployment=next((one for one in COLOURS if one not in (there or ())), ""),
        models=[f"{one['name']}:{one['properties'].get('latestVersion') or 1}" for one in models],
        endpoints=[one["name"] for one in endpoints],
        environments=[f"azureml:{one['name']}@latest" for one in environments],
        computes=[one["name"] for one in computes if one["properties"].get("computeType") == "AmlCompute"],
        first=not there,
    )


async def preview(visit: Visit) -> Response:
    endpoint, deployment = _documents(visit)
    code = batch_deployment.sdk_code(endpoint, deployment, bool(visit.fields.get("default")))
    return page(
        "endpoint_preview.html",
        visit,
        endpoint=dump(endpoint),
        deployment=dump(deployment),
        code=code,
        what="batch",
        flag="set-default",
    )


async def make(visit: Visit) -> Response:
    """The endpoint, where it is not there, and the deployment. What is refused leaves no endpoint behind."""
    endpoint, deployment = _documents(visit)
    for field, one in (("endpoint", endpoint), ("deployment", deployment)):
        segment(field, one["name"])
    path, new = f"{visit.workspace}/batchEndpoints/{endpoint['name']}", {"if-none-match": "*"}
    made = not await exists(visit, path)
    if made:
        with meaning(name="endpoint"):
            await visit.api.put(path, {"location": "local", "properties": {"authMode": "AADToken"}}, headers=new)
    try:
        body = batch_deployment.sent(deployment, f"{visit.workspace}/computes")
        with meaning(name="deployment"):
            await visit.api.put(f"{path}/deployments/{deployment['name']}", body, headers=new)
    except Refused:
        if made:
            await visit.api.delete(path)
        raise
    if visit.fields.get("default"):
        await visit.api.patch(path, {"properties": {"defaults": {"deploymentName": deployment["name"]}}})
    return RedirectResponse(visit.link(f"/batch-endpoints/{quote(endpoint['name'])}"), 303, HEADERS)


async def _taken(visit: Visit, endpoint: str) -> list[str] | None:
    """Names of its deployments; None where it is not there."""
    path = f"{visit.workspace}/batchEndpoints/{endpoint}"
    if not endpoint or not await exists(visit, path):
        return None
    return [str(one["name"]).lower() for one in await newest(visit, f"batchEndpoints/{endpoint}/deployments")]


def _documents(visit: Visit) -> tuple[Document, Document]:
    """Raises Refused(400)."""
    try:
        return batch_deployment.documents(visit.fields)
    except Faulty as error:
        raise as_refused(error) from None


ROUTES = (
    get("/batch-endpoints/new", show),
    post("/batch-endpoints/new/preview", preview),
    post("/batch-endpoints/new", make),
)
