"""A model behind an endpoint: chosen, made, and watched until it answers; seen as YAML and SDK code before."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from smalt.store.document import Document, part
from smalt.studio.documents.deployment import endpoint_yaml, sdk_code, sent
from smalt.studio.documents.fields import in_file
from smalt.studio.documents.written import dump
from smalt.studio.pages.endpoint import deployment_of
from smalt.studio.pages.endpoint_actions import whole
from smalt.studio.pages.endpoints import shown
from smalt.studio.pages.rehearsed import segment
from smalt.studio.platform_api import API_VERSION, Refused, meaning
from smalt.studio.rendering import HEADERS, page
from smalt.studio.routes import get, post
from smalt.studio.visit import Visit

LISTED = 50  # models, endpoints and environments that the form offers; any other may be typed
COLOURS = ("blue", "green", "orange", "violet", "teal")
AUTH = {"key": "a key", "aml_token": "a token of this endpoint", "aad_token": "a token of the platform"}
SIZE = "Standard_DS3_v2"


async def show(visit: Visit) -> Response:
    """`?model=NAME:VERSION`, `?endpoint=NAME` of one that there is. Traffic moves unasked only where there is none."""
    model, endpoint = (visit.http.query_params.get(name, "") for name in ("model", "endpoint"))
    endpoint = endpoint or name_for(model)
    models, endpoints, environments, sizes, there = await asyncio.gather(
        newest(visit, "models"),
        newest(visit, "onlineEndpoints"),
        newest(visit, "environments"),
        visit.api.get(_sizes(visit)),
        exists(visit, f"{visit.workspace}/onlineEndpoints/{endpoint}") if endpoint else _no(),
    )
    taken = await newest(visit, f"onlineEndpoints/{endpoint}/deployments") if there else []
    names = {one["name"].lower() for one in taken}
    return page(
        "new_endpoint.html",
        visit,
        model=model,
        endpoint=endpoint,
        auths=AUTH,
        size=SIZE,
        deployment=next((one for one in COLOURS if one not in names), ""),
        models=[f"{one['name']}:{one['properties'].get('latestVersion') or 1}" for one in models],
        endpoints=[one["name"] for one in endpoints],
        environments=[f"azureml:{one['name']}@latest" for one in environments],
        sizes=sizes["value"],
        first=not there,
    )


async def preview(visit: Visit) -> Response:
    endpoint, deployment = _documents(visit)
    return page(
        "endpoint_preview.html",
        visit,
        endpoint=dump(endpoint),
        deployment=dump(deployment),
        code=sdk_code(endpoint, deployment),
        what="online",
        flag="all-traffic",
    )


async def make(visit: Visit) -> Response:
    """The endpoint, where it is not there, and the deployment. What is refused leaves no endpoint behind."""
    endpoint, deployment = _documents(visit)
    for field, one in (("endpoint", endpoint), ("deployment", deployment)):
        segment(field, one["name"])
    path = f"{visit.workspace}/onlineEndpoints/{endpoint['name']}"
    new = not await exists(visit, path)
    if new:
        body: Document = {"location": "local", "properties": {"authMode": endpoint["auth_mode"]}}
        with meaning(name="endpoint"):
            await visit.api.put(path, body, headers={"if-none-match": "*"})
    try:
        place = f"{path}/deployments/{deployment['name']}"
        with meaning(name="deployment"):
            await visit.api.put(place, sent(deployment), headers={"if-none-match": "*"})
    except Refused:
        if new:
            await visit.api.delete(path)
        raise
    wanted = (
        wish_of(visit.token, await visit.api.get(path), deployment["name"]) if visit.fields.get("traffic") else None
    )
    to = f"/endpoints/{quote(endpoint['name'])}/deploying/{quote(deployment['name'])}"
    return RedirectResponse(visit.link(to, traffic=wanted), 303, HEADERS)


async def deploying(visit: Visit) -> Response:
    """How far it is. `?traffic=WISH`: all of it is to be sent when it is up, which the page asks for then.

    A link that somebody else has made, or of a time before traffic was set, has no such wish: it has the button alone.
    """
    cursor = await visit.cursor()
    document, deployment = await asyncio.gather(visit.api.get(_path(visit)), visit.api.get(_deployment(visit)))
    endpoint = shown(document)
    return page(
        "deploying.html",
        visit,
        cursor=cursor,
        endpoint=endpoint,
        one=deployment_of(deployment, endpoint),
        wanted=_is_wish(visit, document),
        api_version=API_VERSION,
    )


async def send_traffic(visit: Visit) -> Response:
    """All of it; `etag`: of what was shown."""
    name = visit.http.path_params["deployment"]
    await visit.change(_path(visit), {"properties": {"traffic": {name: 100}}})
    to = f"/endpoints/{quote(visit.http.path_params['name'])}/deploying/{quote(name)}"
    return RedirectResponse(visit.link(to), 303, HEADERS)


def _documents(visit: Visit) -> tuple[Document, Document]:
    """As files of `az ml` say them. Raises Refused(400)."""
    given = {name: visit.fields.get(name, "").strip() for name in visit.fields}
    for name in ("endpoint", "deployment", *(() if given.get("script") else ("model",))):
        if not given.get(name):
            raise Refused.at(name, "InvalidForm", f"{name}: this is missing.")
    model = given.get("model", "")
    deployment: Document = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": given["deployment"],
        "endpoint_name": given["endpoint"],
        **({"model": model if model.startswith("azureml:") else f"azureml:{model}"} if model else {}),
        "instance_type": given.get("instance_type") or SIZE,
        "instance_count": whole(visit, "instances") or 1,
    }
    if given.get("environment"):
        deployment["environment"] = given["environment"]
    if given.get("code") or given.get("script"):
        deployment["code_configuration"] = {
            "code": in_file(given.get("code", "")),
            "scoring_script": given.get("script", ""),
        }
    return endpoint_yaml(given["endpoint"], given.get("auth") or "key"), deployment


def wish_of(token: str, endpoint: Document, deployment: str) -> str:
    """That this session sends all traffic to a deployment, as long as the traffic is what it is now.

    Signed with the session's token, which no other page knows, so that no link of others' can say it.
    """
    said = json.dumps([endpoint["id"], deployment, part(endpoint["properties"], "traffic")], sort_keys=True)
    return hmac.new(token.encode(), said.lower().encode(), "sha256").hexdigest()


def _is_wish(visit: Visit, endpoint: Document) -> bool:
    given = visit.http.query_params.get("traffic", "")
    return hmac.compare_digest(
        given.encode(), wish_of(visit.token, endpoint, visit.http.path_params["deployment"]).encode()
    )


def name_for(model: str) -> str:
    """Of an endpoint for this model: letters, digits and dashes, 3 to 32."""
    found = re.search(r"/models/([^/]+)/", model)  # of a registry
    name = found[1] if found else model.partition(":")[0]
    return re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:32].strip("-")


async def exists(visit: Visit, path: str) -> bool:
    try:
        await visit.api.get(path)
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


async def newest(visit: Visit, what: str) -> list[Any]:
    """What a form offers of a collection of the workspace."""
    return (await visit.api.get(f"{visit.workspace}/{what}", {"count": str(LISTED)}))["value"]


async def _no() -> bool:
    return False


def _sizes(visit: Visit) -> str:
    provider = "providers/Microsoft.MachineLearningServices"
    return f"/subscriptions/{visit.workspace.subscription}/{provider}/locations/local/vmSizes"


def _path(visit: Visit) -> str:
    return f"{visit.workspace}/onlineEndpoints/{visit.http.path_params['name']}"


def _deployment(visit: Visit) -> str:
    return f"{_path(visit)}/deployments/{visit.http.path_params['deployment']}"


ROUTES = (
    get("/endpoints/new", show),
    post("/endpoints/new", make),
    post("/endpoints/new/preview", preview),
    get("/endpoints/{name}/deploying/{deployment}", deploying),
    post("/endpoints/{name}/deploying/{deployment}", send_traffic),
)
