"""Registries as the official clients reach them: found by name, and spoken to through a front end of their own.

`GET /registrymanagement/v1.0/registries/{name}/discovery` says where the registry is. Clients then send what they would
send to Resource Manager to `/mferp/managementfrontend/subscriptions/…/registries/{name}/…`, an older form of the same:
- ids are `azureml://registries/…`, also in answers;
- `PUT tempdatarefs/…` is `startPendingUpload` of the asset that the body names, `POST datarefs/…` is its
  `getBlobReferenceSAS`;
- MLflow's protocol is not spoken for a registry, and says so;
- lists may ask for `listViewType=ListViewType.ACTIVE_ONLY`, as Python calls it;
- a PUT of a version is a 202 with the version's address as `Location`, of what holds versions always a 201;
- `POST import` has a `Location`, where nothing is when it has ended: clients take a document for the asset.
"""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smalt.arm.audit import known
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ML, ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.router import Authenticate, Authorize, guarded, read_json
from smalt.kinds.assets import registries, shipped
from smalt.settings import REGION, TENANT

FRONT_END = "/mferp/managementfrontend"
_DISCOVERY = re.compile(r"/registrymanagement/v1\.0/registries/([^/]+)/discovery/?", re.IGNORECASE)
_IN_GROUP = rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(ML)}/registries/"
_HANDLED = re.compile(
    rf"/registrymanagement/|{FRONT_END}{_IN_GROUP}(?!.*/changes$)|/mlflow/v[12]\.0{_IN_GROUP}", re.IGNORECASE
)
_SHIPPED = re.compile(rf"{_IN_GROUP}{registries.SHIPPED}(?=/|$)", re.IGNORECASE)
_DATA_REFERENCE = re.compile(r"(/.+/registries/([^/]+))/(tempdatarefs|datarefs)/([^/]+)/versions/([^/]+)/?", re.I)
_ASSET = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)/versions/([^/]+)", re.IGNORECASE)
_ACTIONS = {("PUT", "tempdatarefs"): "startPendingUpload", ("POST", "tempdatarefs"): "startPendingUpload",
            ("POST", "datarefs"): "getBlobReferenceSAS"}  # fmt: skip
_VIEWS = {b"ListViewType.ACTIVE_ONLY": b"ActiveOnly", b"ListViewType.ARCHIVED_ONLY": b"ArchivedOnly",
          b"ListViewType.ALL": b"All"}  # fmt: skip
_WITH_FILES = ("models", "data", "codes", "environments", "components")


class RegistryApp:
    """An ASGI app for the paths that `handles` knows; `arm` answers what the front end passes on."""

    def __init__(self, platform: Platform, authenticate: Authenticate, authorize: Authorize, arm: ASGIApp) -> None:
        self._platform = platform
        self._authenticate = authenticate
        self._authorize = authorize
        self._arm = arm

    @staticmethod
    def handles(path: str) -> bool:
        return bool(_HANDLED.match(path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.lower().startswith("/mlflow/"):
            await _no_mlflow()(scope, receive, send)
            return
        if not path.lower().startswith(FRONT_END):
            response = await guarded(self._discovered, HttpRequest(scope, receive), self._platform.audit)
            await response(scope, receive, send)
            return
        path = path[len(FRONT_END) :]
        if found := _SHIPPED.match(path):
            below = [one for one in path[found.end() :].split("/") if one]
            response = await guarded(
                lambda http: self._shipped(http, below), HttpRequest(scope, receive), self._platform.audit
            )
            await response(scope, receive, _Shown(self._platform.settings.url, scope, send))
            return
        if found := _DATA_REFERENCE.fullmatch(path):
            response = await guarded(
                lambda http: self._data_reference(http, found), HttpRequest(scope, receive), self._platform.audit
            )
            await response(scope, receive, send)
            return
        await self._arm(_at(scope, path), receive, _Shown(self._platform.settings.url, scope, send))

    async def _discovered(self, http: HttpRequest) -> Response:
        principal, found = known(self._authenticate(http.scope)), _DISCOVERY.fullmatch(http.scope["path"])
        if found is None or http.method != "GET":
            raise ArmError(404, "NotFound", f"{http.method} {http.scope['path'][:200]} is not known here.", "path")
        return JSONResponse(await run_in_threadpool(self._discovery, principal, found[1]))

    async def _shipped(self, http: HttpRequest, path: list[str]) -> Response:
        """Raises ArmError(403, 404, 405)."""
        principal = known(self._authenticate(http.scope))
        await run_in_threadpool(self._authorize, principal, f"{ML}/registries/read", str(shipped.ID))
        return JSONResponse(shipped.read(self._platform.environments.curated(), http.method, path))

    def _discovery(self, principal: Principal, name: str) -> Document:
        """Raises ArmError(403, 404)."""
        if name.lower() == registries.SHIPPED:
            self._authorize(principal, f"{ML}/registries/read", str(shipped.ID))
            return self._found(shipped.ID, REGION, [REGION])
        with self._platform.database.read() as connection:
            row = registries.named(connection, name)
        if row is None:
            message = (
                f"There is no registry '{name[:100]}' here. Registries are made with ml_client.registries.begin_create"
                " or `az ml registry create`; 'azureml' has the environments that are shipped."
            )
            raise ArmError(404, "ResourceNotFound", message, target=name[:100])
        self._authorize(principal, f"{ML}/registries/read", row.id)
        regions = [str(one["location"]) for one in row.properties.get("regionDetails") or ()]
        return self._found(ResourceId.parse(row.written), str(row.spec.get("location")), regions)

    def _found(self, id_: ResourceId, primary: str, regions: list[str]) -> Document:
        settings = self._platform.settings
        return {
            "registryName": id_.name,
            "tenantId": TENANT,
            "subscriptionId": id_.subscription,
            "resourceGroup": id_.group,
            "workspaceName": None,
            "primaryRegion": primary,
            "regions": regions,
            "primaryRegionResourceProviderUri": f"{settings.url}/",
            "registryFqdns": {region: {"registryFqdn": f"{settings.host}:{settings.port}"} for region in regions},
        }

    async def _data_reference(self, http: HttpRequest, found: re.Match[str]) -> Response:
        """The action that it is, of the asset that the body names. Raises ArmError(400, 405)."""
        base, registry, what, name, version = found.groups()
        action = _ACTIONS.get((http.method, what.lower()))
        if action is None:
            raise ArmError(405, "MethodNotAllowed", f"{http.method} is not allowed on {what}.")
        self._authenticate(http.scope)  # before a body is read
        body = await read_json(http)
        asset = _ASSET.fullmatch(str(body.get("assetId") or ""))
        same = asset and [one.lower() for one in asset.groups()[::2]] == [registry.lower(), name.lower()]
        if asset is None or not same or asset[4].lower() != version.lower() or asset[2].lower() not in _WITH_FILES:
            raise invalid(
                f"assetId: this must be azureml://registries/{registry}/TYPE/{name}/versions/{version}.", "assetId"
            )
        answer = _Whole()
        path = f"{base}/{asset[2]}/{name}/versions/{version}/{action}"
        await self._arm({**_at(http.scope, path), "method": "POST"}, _Said(body), answer)
        return answer.response()


def _no_mlflow() -> Response:
    """As MLflow writes errors, whose clients show `message`."""
    message = (
        "MLflow's clients cannot use a registry here: they register models in a workspace. Share a model with the"
        " registry by ml_client.models.share, and read it by MLClient(registry_name=…).models."
    )
    return JSONResponse({"error_code": "NOT_IMPLEMENTED", "message": message}, status_code=400)


def _at(scope: Scope, path: str) -> Scope:
    query: bytes = scope["query_string"]
    for given, meant in _VIEWS.items():
        query = query.replace(given, meant)
    return {**scope, "path": path, "raw_path": quote(path).encode(), "query_string": query}


class _Said:
    """A request's body that was read already."""

    def __init__(self, body: Document) -> None:
        self._body = json.dumps(body).encode()

    async def __call__(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}


class _Whole:
    """An answer, gathered."""

    def __init__(self) -> None:
        self._start: MutableMapping[str, Any] = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    def response(self) -> Response:
        response = Response(self._body, self._start["status"])
        kept = [one for one in self._start["headers"] if one[0] != b"content-length"]
        response.raw_headers = [*kept, (b"content-length", str(len(self._body)).encode())]
        return response


class _Shown:
    """Passes an answer on as the front end shows it: with its ids, its own links and its statuses."""

    def __init__(self, url: str, scope: Scope, send: Send) -> None:
        self._url = url
        self._method: str = scope["method"]
        self._address = f"{url}{quote(scope['path'])}?{scope['query_string'].decode('latin-1')}"
        self._is_version = "/versions/" in scope["path"].lower()
        self._send = send
        self._start: MutableMapping[str, Any] = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            body, status = self._as_shown(self._body), self._start["status"]
            written = self._method == "PUT" and status in (200, 201)
            if written:
                status = 202 if self._is_version else 201
            headers = [one for one in self._start["headers"] if one[0] != b"content-length"]
            length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
            more = self._location(headers, written)
            await self._send({**self._start, "status": status, "headers": [*headers, *more, *length]})
            await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _location(self, headers: list[tuple[bytes, bytes]], written: bool) -> list[tuple[bytes, bytes]]:
        """Where a version that was written is; where what was begun gives nothing, when it has ended."""
        if written and self._is_version:
            return [(b"location", self._address.encode("latin-1")), (b"x-ms-retry-after-ms", b"20")]
        poll = dict(headers).get(b"azure-asyncoperation")
        if poll is None or self._method != "POST":
            return []
        return [(b"location", poll.replace(b"/operationsStatus/", b"/operationResults/"))]

    def _as_shown(self, body: bytes) -> bytes:
        if self._start["status"] >= 300 or not body:
            return body
        document: Document = json.loads(body)
        for one in [document, *(document.get("value") or ())]:
            if isinstance(one.get("id"), str):
                one["id"] = registries.shown_id(one["id"])
        if isinstance(link := document.get("nextLink"), str):
            document["nextLink"] = link.replace(self._url, f"{self._url}{FRONT_END}", 1)
        return json.dumps(document).encode()
