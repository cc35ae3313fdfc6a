"""One request to MLflow's process and its answer back: what is passed on, and what is put right on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from smalt.arm.errors import invalid
from smalt.arm.outage import outage_of_another
from smalt.arm.threads import Threads
from smalt.settings import ARTIFACT_CONTAINER, Settings
from smalt.tracking.address import Address, mlflow_name
from smalt.tracking.artifacts.folder import Folder
from smalt.tracking.artifacts.model_files import ModelFiles
from smalt.tracking.edge.access import is_repeatable
from smalt.tracking.edge.bodies import check_body, check_query
from smalt.tracking.edge.direct import LOG_BATCH_ASYNC
from smalt.tracking.edge.registry_edge import Change, RegistryEdge
from smalt.tracking.edge.replies import busy, in_json, unavailable
from smalt.tracking.edge.run_edge import RunEdge
from smalt.tracking.edge.translate import (
    default_experiment_in_body,
    default_experiment_in_query,
    for_plugin,
    from_plugin,
    wants_azureml_uris,
    without_workspaces,
)
from smalt.tracking.models.logged_models import place_logged_model
from smalt.tracking.process.upstream import Outgoing, Unavailable, Upstream
from smalt.tracking.runs.measured import Measured
from smalt.tracking.runs.run_creation import RunCreations, is_run_creation, without_attempt
from smalt.tracking.runs.runs import MlflowTracking

_TO_MLFLOW = frozenset({"accept", "content-type", "if-modified-since", "if-none-match", "range", "user-agent"})
_NOT_BACK = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "set-cookie", "transfer-encoding"}
)
_WORKSPACE = "x-mlflow-workspace"
# For the plugin's own call; an answer without `batch_tracking_id` tells it that nothing is left to wait for.
_LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"
_ANSWERS_JSON = ("/api/", "/ajax-api/", "/graphql", "/v1/traces")
_AT_ONCE = 64 * 1024  # a longer body is not read on the event loop


@dataclass(frozen=True)
class Forward:
    settings: Settings
    tracking: MlflowTracking
    upstream: Upstream
    registry: RegistryEdge
    runs: RunEdge
    creations: RunCreations
    threads: Threads
    measured: Measured

    async def respond(
        self, request: Request, address: Address, body: bytes, files: Callable[[], ModelFiles], by: str
    ) -> Response:
        """`body` is without encoding; `by` is who asks.

        Raises ArmError: 400 for what MLflow cannot take, 503 when it does not come back; NotReady
        while its database is being made.
        """
        look = partial(self._change, request, address.rest, body)
        change = look() if len(body) <= _AT_ONCE else await self.threads.run(look)
        outgoing = await self.threads.run(self._outgoing, request, address, body, change, by)
        if not is_run_creation(request.method, address.rest):
            return await self._answered(
                request, address, body, change, files, by, partial(self.upstream.send, outgoing)
            )
        creation = await self.creations.begin(outgoing, address.workspace, by)
        answered = False
        try:
            response = await self._answered(request, address, body, change, files, by, creation.send)
            answered = not await request.is_disconnected()
            response.background = BackgroundTask(creation.close, answered)
        finally:
            if not answered:
                await creation.close(answered=False)
        return response

    async def _answered(
        self,
        request: Request,
        address: Address,
        body: bytes,
        change: Change | None,
        files: Callable[[], ModelFiles],
        by: str,
        send: Callable[[], Awaitable[httpx.Response]],
    ) -> Response:
        try:
            answer = await send()
        except Unavailable as error:
            raise unavailable(str(error) or "it does not answer yet") from error
        if not answer.is_stream_consumed:
            return StreamingResponse(_streamed(answer), answer.status_code, _headers(answer, length=True))
        content = answer.content
        if answer.status_code >= 500 and (known := outage_of_another(content.decode(errors="replace"))):
            raise known  # MLflow would have its clients try again for minutes
        if answer.status_code == 503:  # what it says quotes the statement and the database's address
            raise busy()
        if change is not None:
            took = partial(self.registry.after, address.workspace, change, answer.status_code, content, files, by)
            content = await self.threads.run(took)
        if answer.is_success:
            await self.threads.run(self.runs.after, address.rest, body, content, by)
            self.measured.asked(address.workspace, address.rest, body)
        if answer.is_success and _is_json(answer):
            content = await self.threads.run(partial(self._corrected, request, address, content, files))
        headers = _headers(answer)
        if answer.is_error and address.rest.startswith(_ANSWERS_JSON) and not _is_json(answer):
            content = in_json(answer.status_code, address.rest)
            headers["content-type"] = "application/json"
        response = Response(content, answer.status_code)
        response.raw_headers.extend((k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items())
        return response

    def _change(self, request: Request, rest: str, body: bytes) -> Change | None:
        """The change of the registry that is asked for, if any, once the request is one that MLflow can take."""
        query = request.url.query
        check_query(query)
        if body and _is_json(request):
            check_body(rest, body)
        return self.registry.change(rest, query, body)

    def _outgoing(self, request: Request, address: Address, body: bytes, change: Change | None, by: str) -> Outgoing:
        workspace = address.workspace
        default = partial(self.tracking.default_experiment, workspace.key)
        query = default_experiment_in_query(request.url.query, default)
        if _is_json(request):
            if body and not body.lstrip().startswith(b"{"):
                raise invalid("The body must be a JSON object.", "body")  # MLflow itself answers 500
            body = default_experiment_in_body(body, default)
            if address.plugin:
                body = from_plugin(body, self.settings, workspace, partial(self.tracking.artifact_uri, workspace.key))
            if change is not None:
                body = self.registry.before(workspace, change, body, by)
        headers = [
            (key, value)
            for key, value in request.headers.items()
            if key in _TO_MLFLOW or (key.startswith("x-mlflow-") and key != _WORKSPACE)
        ]
        headers += [(_WORKSPACE, mlflow_name(workspace)), ("accept-encoding", "identity")]
        target = _LOG_BATCH if address.rest == LOG_BATCH_ASYNC else address.raw_rest
        target += f"?{query}" if query else ""
        return Outgoing(request.method, target, headers, body, is_repeatable(request.method, address.rest))

    def _corrected(self, request: Request, address: Address, content: bytes, files: Callable[[], ModelFiles]) -> bytes:
        if is_run_creation(request.method, address.rest):
            content = without_attempt(content)
        if address.rest.endswith("/mlflow/server-info"):
            content = without_workspaces(content)
        if request.method == "POST" and address.rest.endswith("/mlflow/logged-models"):
            content = self._placed(address, content, lambda: files().folder_of(ARTIFACT_CONTAINER))
        if address.plugin and wants_azureml_uris(request.headers.get("user-agent", "")):
            content = for_plugin(content, self.settings, address.workspace)
        return content

    def _placed(self, address: Address, content: bytes, folder: Callable[[], Folder]) -> bytes:
        answer = json.loads(content)
        info = answer["model"]["info"]
        location = place_logged_model(self.tracking.database, address.workspace.key, info["model_id"], folder)
        if location is None:
            return content
        info["artifact_uri"] = location
        return json.dumps(answer).encode()


def _is_json(message: Request | httpx.Response) -> bool:
    return message.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _headers(answer: httpx.Response, length: bool = False) -> dict[str, str]:
    headers = {key: value for key, value in answer.headers.items() if key.lower() not in _NOT_BACK}
    if length and "content-length" in answer.headers:
        headers["content-length"] = answer.headers["content-length"]
    return headers | {"x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN"}


async def _streamed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
