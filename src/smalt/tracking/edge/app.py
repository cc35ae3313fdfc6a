"""MLflow and Azure's artifact service as clients see them: signed in, a workspace each, also while MLflow restarts.

The edge strips the path in front, says the workspace in a header that no client can set, and passes the
request to MLflow's process (`forward`). It answers itself what concerns files, straight on the blob store
(`artifacts`, `azure_artifacts`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from smalt.arm.audit import Audit, known
from smalt.arm.errors import ArmError, invalid, not_found, unauthorized
from smalt.arm.ids import ResourceId
from smalt.arm.outage import outage
from smalt.arm.ports import BlobFiles, Blobs, LocalBlobs, ModelRegistry, NotReady, Principal, Tokens
from smalt.arm.runs import JobRuns
from smalt.arm.threads import Threads
from smalt.auth.private_files import PrivateFiles
from smalt.settings import ARTIFACT_CONTAINER, Settings
from smalt.store import author
from smalt.tracking.address import Address, mlflow_name, parse_address
from smalt.tracking.artifacts.artifact_names import staging
from smalt.tracking.artifacts.artifacts import artifact_response, is_artifact_route
from smalt.tracking.artifacts.files import Files
from smalt.tracking.artifacts.folder import Folder
from smalt.tracking.artifacts.model_files import ModelFiles, place_in
from smalt.tracking.artifacts.objects import Objects
from smalt.tracking.dataplane.azure_artifacts import azure_artifact_response
from smalt.tracking.dataplane.model_management import model_management_response
from smalt.tracking.edge.access import action, is_known
from smalt.tracking.edge.admission import Admission
from smalt.tracking.edge.direct import Direct
from smalt.tracking.edge.forward import Forward
from smalt.tracking.edge.inflate import inflated
from smalt.tracking.edge.registry_edge import RegistryEdge
from smalt.tracking.edge.replies import azure_error, mlflow_error, not_ready, too_large
from smalt.tracking.edge.run_edge import RunEdge
from smalt.tracking.edge.run_metrics import RunMetrics
from smalt.tracking.edge.searches import Turns, check_search
from smalt.tracking.models.registered_models import RegisteredModels
from smalt.tracking.process.mlflow_server import NAME
from smalt.tracking.process.upstream import PATIENCE_S, Upstream
from smalt.tracking.runs.measured import Measured, Record, Told, nobody
from smalt.tracking.runs.run_creation import RunCreations
from smalt.tracking.runs.runs import MlflowTracking
from smalt.tracking.store.tracking_store import TrackingStore
from smalt.unix_socket import say

BODY_LIMIT_BYTES = 32 << 20
THREADS = 24  # for what goes to MLflow, and as many for files
Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)


class TrackingApp:
    """An ASGI app for the paths that `handles` knows.

    It parses the whole path, so mount it without a prefix of its own.

    - `audiences`: what a bearer token may be for (ARM's URL, with and without a slash).
    - `exists(workspace)`: whether a workspace is there; `workspace` is its lowered ARM id.
    - `authorize(principal, action, workspace)` raises ArmError(403); actions are `access.action`'s.
    - `files`: where the artifacts of runs are as files; `objects`: the same where blobs are no files of this machine.
    - `models`: ARM's models; `jobs`: ARM's jobs, which runs are.
    - `audit`: where is recorded who was refused.
    - `session(method, raw headers)`: who the browser's cookie speaks for if our own pages sent
      it, or None (`Sessions.read`).
    - `record(resource, [(name, value)])` hears each number that a run logs; `told` that a run logged some (`Measured`).
    """

    def __init__(
        self,
        settings: Settings,
        tracking: MlflowTracking,
        tokens: Tokens,
        blobs: Blobs,
        *,
        files: LocalBlobs,
        objects: BlobFiles | None = None,
        audiences: Sequence[str],
        exists: Callable[[str], bool],
        authorize: Callable[[Principal, str, str], None],
        models: ModelRegistry,
        jobs: JobRuns,
        session: Callable[[str, Headers], Principal | None] = lambda method, headers: None,
        patience_s: float = PATIENCE_S,
        record: Record = lambda resource, values: None,
        told: Told = nobody,
        audit: Audit | None = None,
    ) -> None:
        self._settings = settings
        self._tracking = tracking
        self._tokens = tokens
        self._blobs = blobs
        self._local, self._objects = files, objects
        self._hides = PrivateFiles(settings).hides
        self._audiences = audiences
        self._admission = Admission(authorize, exists, tracking.account_of)
        self._session = session
        self._patience_s = patience_s
        self._audit = audit
        self._upstream = Upstream(settings.mlflow_socket, patience_s, need=partial(say, settings.needs_socket, NAME))
        self._registry = RegistryEdge(settings, RegisteredModels(tracking), models, tracking.run_place)
        self._searches = Turns()
        self._mlflow_threads, self._file_threads = Threads(THREADS), Threads(THREADS)
        runs, measured, store = RunEdge(jobs), Measured(record, told), TrackingStore(tracking.database)
        self._direct = Direct(settings, store, runs, self._mlflow_threads, measured, tracking.default_experiment)
        self._metrics = RunMetrics(tracking, store, measured, self._mlflow_threads)
        self._forward = Forward(
            settings,
            tracking,
            self._upstream,
            self._registry,
            runs,
            RunCreations(self._upstream, tracking.database, patience_s, threads=self._mlflow_threads),
            self._mlflow_threads,
            measured,
        )
        self._prepared: set[tuple[str, str]] = (
            set()
        )  # workspaces that MLflow has; a new one of an old name has another account
        self._stores: set[str] = set()  # accounts that have the container

    @staticmethod
    def handles(path: str) -> bool:
        return parse_address(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        request_id = str(uuid.uuid4())
        with author.on_behalf(request_id):
            response = await self._respond(Request(scope, receive))
        response.headers["x-ms-request-id"] = request_id
        await response(scope, receive, send)

    async def close(self) -> None:
        await self._upstream.close()
        self._tracking.database.close()

    async def _respond(self, request: Request) -> Response:
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        address = parse_address(raw_path.decode("latin-1"))
        said = azure_error if address is not None and address.service != "mlflow" else mlflow_error
        try:
            if address is None:
                raise not_found("The route", request.scope["path"])
            return await self._answer(request, address)
        except ArmError as error:
            if self._audit is not None and self._audit.refuses(error, request.method, writes=False):
                await run_in_threadpool(self._audit.refused, error, request.method, request.scope["path"])
            return said(error)
        except NotReady as error:
            return said(not_ready(error))
        except ClientDisconnect:
            return Response(status_code=400)
        except RecursionError:
            return said(invalid("The body is nested too deeply.", "body"))
        except Exception as error:
            _log.exception("A tracking request failed: %s %s", request.method, request.scope["path"])
            failed = ArmError(500, "InternalServerError", "The tracking edge failed; its log says why.")
            return said(outage(error) or failed)

    async def _answer(self, request: Request, address: Address) -> Response:
        about_files = address.service != "mlflow" or is_artifact_route(address.rest)
        threads = self._file_threads if about_files else self._mlflow_threads
        principal, account = self._recent(request, address) or await threads.run(self._admit, request, address)
        find_files = partial(self._files, address.workspace, account)
        if address.service == "modelmanagement":
            return model_management_response(request.method, address.rest)
        if address.service == "metric":
            await self._prepare(address.workspace, account)
            return await self._metrics.respond(request.method, address, await _plain_body(request, threads))
        if address.service != "mlflow":
            files, body = await threads.run(find_files), await _plain_body(request, threads)
            return await azure_artifact_response(
                request, address, self._settings, self._blobs, account, files, body, threads
            )
        if not address.rest:
            return RedirectResponse(f"{request.scope['path']}/", 308)
        if is_artifact_route(address.rest):
            return await artifact_response(request, address.rest, await threads.run(find_files), threads)
        if not is_known(address.rest):
            raise not_found("The tracking route", address.rest)
        body = await _plain_body(request, threads)
        searching = check_search(request.method, address.rest, request.url.query, body)
        await self._prepare(address.workspace, account)
        direct = partial(self._direct.respond, request, address, body, principal.name)
        forward = partial(self._forward.respond, request, address, body, find_files, principal.name)
        if not searching:
            return await direct() or await forward()
        async with self._searches.turn(f"{principal.oid} {principal.name} {principal.scope}"):
            return await direct() or await forward()

    def ended(self, key: str) -> None:
        """The resource `key` changed or is gone: who was admitted because of it is looked at again."""
        self._admission.ended(key)

    def _recent(self, request: Request, address: Address) -> tuple[Principal, str] | None:
        """As `_admit`, where it was asked a moment ago; it needs no database."""
        if (token := _bearer(request)) == "":
            return None
        principal = known(self._tokens.verify(token, self._audiences))
        account = self._admission.recent(principal, action(request.method, address.rest), address.workspace)
        return None if account is None else (principal, account)

    def _admit(self, request: Request, address: Address) -> tuple[Principal, str]:
        """Who it is, whether they may, and only then whether there is such a workspace; and its storage account."""
        principal = known(self._principal(request))
        return principal, self._admission(principal, action(request.method, address.rest), address.workspace)

    def _principal(self, request: Request) -> Principal:
        if token := _bearer(request):
            return self._tokens.verify(token, self._audiences)
        principal = self._session(request.method, request.headers.raw)
        if principal is None:
            raise unauthorized("Sign in: send a bearer token, or open the link that `smalt up` prints in this browser.")
        return principal

    async def _prepare(self, workspace: ResourceId, account: str) -> None:
        """The workspace in MLflow's tables. While they are being made (the first seconds of a new root) this waits."""
        loop, wait_s = asyncio.get_running_loop(), 0.05
        deadline = loop.time() + self._patience_s
        while (workspace.key, account) not in self._prepared:
            try:
                await self._mlflow_threads.run(self._open, workspace, account)
            except NotReady:
                if loop.time() + wait_s > deadline:
                    raise
                self._upstream.need()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.5)
                continue
            self._prepared.add((workspace.key, account))

    def _open(self, workspace: ResourceId, account: str) -> None:
        self._tracking.ensure_workspace(workspace.key)
        self._registry.adopt_all(workspace, self._files(workspace, account))

    def _files(self, workspace: ResourceId, account: str) -> ModelFiles:
        if account not in self._stores:
            self._blobs.ensure_container(account, ARTIFACT_CONTAINER)
            self._stores.add(account)
        return ModelFiles(partial(self._container, account), place_in(self._tracking.database, mlflow_name(workspace)))

    def _container(self, account: str, container: str) -> Files:
        place = staging(self._settings)
        if self._objects is not None:
            return Objects(self._objects, account, container, place)
        return Folder(self._local.path(account, container), place, self._hides)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _plain_body(request: Request, threads: Threads) -> bytes:
    """The body without its encoding, within the same limit."""
    body = await _body(request)
    encoding = request.headers.get("content-encoding", "")
    return await threads.run(inflated, body, encoding, BODY_LIMIT_BYTES) if encoding else body


async def _body(request: Request) -> bytes:
    """The whole body; ArmError(413) as soon as it is known to be too long."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > BODY_LIMIT_BYTES):
        raise too_large(BODY_LIMIT_BYTES)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise too_large(BODY_LIMIT_BYTES)
    return bytes(body)
