"""HTTP in front of the kinds: one ASGI app for /subscriptions/…, any api-version, any case.

Sync work runs in threads; the event loop only parses, authenticates and waits for operations (long polls: an
operation's GET is held until it ends, so that clients learn of it at once).
"""

from __future__ import annotations

import logging
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from smalt.arm.audit import Audit, known
from smalt.arm.body import parsed
from smalt.arm.bounds import DOCUMENT_MOST, TEMPLATE_MOST, too_large
from smalt.arm.change_feed import ChangeFeed
from smalt.arm.crud import Answer, Conditions, Crud
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError
from smalt.arm.event_stream import Streams
from smalt.arm.ids import GROUPS, ML, RESOURCES, SUBSCRIPTIONS, TENANT, NotAnId, ResourceId
from smalt.arm.kind import Kind, Request
from smalt.arm.outage import outage
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.threads import Threads
from smalt.store import author, operations

log = logging.getLogger("smalt.arm")

THREADS = 32
LISTS = ("updatedatamounts", "updatecustomservices")  # actions whose body is a list, and then a `value`
AT_ONCE = 64 * 1024  # a longer body is not read on the event loop
HOLD_S = 20.0  # how long an operation's GET is held
REREAD_S = 0.5  # and how often it is read meanwhile, should nobody tell of its end
Authenticate = Callable[[Scope], Principal]
Authorize = Callable[[Principal, str, str], None]
_OPERATION = re.compile(
    r"(subscriptions/[^/]+/)?providers/[^/]+/locations/[^/]+/(operationsStatus|operationResults)/[^/]+", re.IGNORECASE
)
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}


class ArmApp:
    """`authenticate` takes the ASGI scope and raises ArmError(401).

    `authorize(principal, action, scope)` raises ArmError(403).
    """

    def __init__(
        self,
        platform: Platform,
        crud: Crud,
        authenticate: Authenticate,
        authorize: Authorize,
        streams: Streams | None = None,
    ) -> None:
        self._platform = platform
        self._crud = crud
        self._authenticate = authenticate
        self._authorize = authorize
        self._threads = Threads(THREADS)
        self._feed = ChangeFeed(platform, crud.kinds, streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        response = await guarded(self._answer, http, self._platform.audit)
        await response(scope, receive, send)

    async def _answer(self, http: HttpRequest) -> Response:
        principal = known(self._authenticate(http.scope))
        # not http.url: it reads a decoded path again, where an escaped '?' would end it and a line break would vanish
        query = dict(parse_qsl(http.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        segments = [one for one in http.scope["path"].split("/") if one]
        if _OPERATION.fullmatch("/".join(segments)):
            return await self._operation(http, principal, segments[-1], segments[-2].lower() == "operationresults")
        if http.method == "GET" and segments and segments[-1].lower() == "changes":
            return await self._changes(http, principal, "/" + "/".join(segments), query)
        body: dict[str, Any] = {}
        if http.method in ("PUT", "PATCH", "POST"):
            body = await read_json(http, _most(segments), segments[-1].lower() in LISTS)
        answer = await self._threads.run(self._dispatch, http, principal, segments, query, body)
        return self._respond(http, answer)

    def _dispatch(
        self, http: HttpRequest, principal: Principal, segments: list[str], query: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        method, path = http.method, "/" + "/".join(segments)
        id_, last = _split(path)
        request = Request(
            self._platform,
            id_,
            principal,
            self._platform.clock(),
            body,
            query,
            query.get("api-version", ""),
            http.headers,
        )
        if last is None:
            self._authorize(principal, _action(id_.type, _VERBS.get(method, "read")), id_.key)
            return self._on_resource(http, request)
        if method == "GET" and (kind := self._crud.collection(id_, last)) is not None:
            self._authorize_list(principal, kind, id_.holder.key)
            return self._crud.list(request, last, self._platform.settings.url + path)
        if method == "GET" and last.lower() == "events":
            self._authorize(principal, _action(id_.type, "events/read"), id_.key)
            return self._crud.events(request)
        self._authorize(principal, _action(id_.type, f"{last}/action"), id_.key)
        answered = self._crud.act(request, last, method)
        if answered is None:
            raise self._crud.unknown(id_, last, method)
        status, result = answered
        if isinstance(result, Answer):
            return result
        return Answer(status, result)

    def _authorize_list(self, principal: Principal, kind: Kind, scope: str) -> None:
        """Whoever may read something in a scope is shown a list of that: the grants decide. Raises ArmError."""
        action = _action((kind.provider, kind.path), "read")
        try:
            self._authorize(principal, action, scope)
        except ArmError as error:
            narrows = kind.narrows or not kind.verbs
            if error.status != 403 or not narrows or not self._platform.grants.partly(principal, action, scope):
                raise

    def _on_resource(self, http: HttpRequest, request: Request) -> Answer:
        conditions = Conditions(http.headers.get("if-match", ""), http.headers.get("if-none-match", ""))
        match http.method:
            case "GET":
                return self._crud.get(request)
            case "HEAD":  # only asks whether it is there
                return replace(self._crud.get(request), status=204, body=None)
            case "PUT":
                return self._crud.put(request, conditions)
            case "PATCH":
                return self._crud.put(request, conditions, patch=True)
            case "DELETE":
                return self._crud.delete(request, conditions)
            case _:
                self._crud.check_known(request.id)
                raise ArmError(405, "MethodNotAllowed", f"{http.method} is not allowed on a resource.")

    async def _changes(self, http: HttpRequest, principal: Principal, path: str, query: dict[str, str]) -> Response:
        id_, last = _split(path)
        if last is None:
            raise ArmError(404, "InvalidResourceId", f"'{path[:200]}' has no changes.", target="path")

        def allow() -> None:
            self._authenticate(http.scope)  # again and again: a stream may outlive its token
            self._authorize(principal, _action(id_.type, "changes/read"), id_.key)

        return await self._feed.answer(http, principal, id_, query, allow)

    async def _operation(self, http: HttpRequest, principal: Principal, key: str, result: bool) -> Response:
        """Held until the operation ends or the time is over. `result`: asked for what it gives: no document."""
        found = await run_in_threadpool(self._read_operation, key, principal)
        deadline = time.monotonic() + HOLD_S
        with self._platform.hub.subscribe(found.resource_id) as subscription:
            found = await run_in_threadpool(self._read_operation, key)
            while found.state == operations.RUNNING and (left := deadline - time.monotonic()) > 0:
                if self._platform.hub.closing:
                    break
                await subscription.changed(min(left, REREAD_S))
                found = await run_in_threadpool(self._read_operation, key)
        if result and not found.error:
            status = 202 if found.state == operations.RUNNING else 204
            return Response(status_code=status, headers=_retry_after(http) if status == 202 else None)
        body: dict[str, Any] = {
            "id": http.scope["path"],
            "name": found.id,
            "status": found.state,
            "startTime": timestamp(found.created_at),
        }
        if found.ended_at:
            body["endTime"] = timestamp(found.ended_at)
        if found.error:
            body["error"] = found.error
        return JSONResponse(body, headers=_retry_after(http))

    def _read_operation(self, key: str, principal: Principal | None = None) -> operations.Operation:
        """`principal`, where given, is authorized; both read the database."""
        with self._platform.database.read() as connection:
            found = operations.get(connection, key)
        if found is None:
            raise ArmError(404, "OperationNotFound", f"There is no operation '{key}'.", target=key)
        if principal is not None:
            self._authorize(principal, f"{ML}/operations/read", found.resource_id)
        return found

    def _respond(self, http: HttpRequest, answer: Answer) -> Response:
        headers = dict(answer.headers)
        if answer.operation:
            words = http.scope["path"].strip("/").split("/")
            scope = f"/subscriptions/{words[1]}" if words[0].lower() == "subscriptions" else ""
            url = (
                f"{self._platform.settings.url}{scope}/providers/{ML}/locations/local"
                f"/operationsStatus/{answer.operation}?api-version=2024-10-01"
            )
            headers |= {"Azure-AsyncOperation": url, **_retry_after(http)}
        if answer.body is None or answer.status == 204:
            return Response(status_code=answer.status, headers=headers)
        return JSONResponse(answer.body, status_code=answer.status, headers=headers)


def _retry_after(http: HttpRequest) -> dict[str, str]:
    """The Python client honours milliseconds, and the next poll is held anyway; others get whole seconds."""
    if "azsdk-python" in http.headers.get("user-agent", ""):
        return {"x-ms-retry-after-ms": "20"}
    return {"Retry-After": "1"}


def _action(type_: tuple[str, str], verb: str) -> str:
    """What is done, as permissions name it: Microsoft.MachineLearningServices/workspaces/jobs/read."""
    provider, path = type_
    if provider == RESOURCES and path == GROUPS:
        path = f"{SUBSCRIPTIONS}/{GROUPS}"
    return f"{provider}/{path}/{verb}"


def _split(path: str) -> tuple[ResourceId, str | None]:
    """The resource, and the collection or action behind it."""
    above, _, last = path.rpartition("/")
    try:
        return ResourceId.parse(path), None
    except NotAnId:
        pass
    try:
        return ResourceId.parse(above) if above else TENANT, last
    except NotAnId:
        raise ArmError(
            404, "InvalidResourceId", f"'{path[:200]}' is not the path of a resource.", target="path"
        ) from None


async def read_json(http: HttpRequest, most: int = DOCUMENT_MOST, lists: bool = False) -> dict[str, Any]:
    """The body as an object; `{}` where there is none. `lists`: see `parsed`.

    Raises ArmError(400, 413, 415) without reading all of a huge one.
    """
    encoding = http.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        message = f"Documents are read without Content-Encoding here (given: '{encoding[:40]}')."
        raise ArmError(415, "UnsupportedMediaType", message, target="Content-Encoding")
    length = http.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most):
        raise too_large(most)
    chunks: list[bytes] = []
    size = 0
    async for chunk in http.stream():
        size += len(chunk)
        if size > most:
            raise too_large(most)
        chunks.append(chunk)
    text = b"".join(chunks)
    return parsed(text, lists) if len(text) <= AT_ONCE else await run_in_threadpool(parsed, text, lists)


def _most(segments: list[str]) -> int:
    """Bytes of a body: Resource Manager's deployments (those of endpoints are below a workspace) are templates."""
    types = [one.lower() for one in segments[:-1]]
    return TEMPLATE_MOST if "deployments" in types and "workspaces" not in types else DOCUMENT_MOST


async def guarded(answer: Callable[[HttpRequest], Awaitable[Response]], http: HttpRequest, audit: Audit) -> Response:
    """The edge: every error becomes ARM's document, with an id that also stands in the log and in the feed."""
    request_id = str(uuid.uuid4())
    with author.on_behalf(request_id):
        try:
            response = await answer(http)
        except ArmError as error:
            response = error_response(error)
            if audit.refuses(error, http.method):
                await run_in_threadpool(audit.refused, error, http.method, http.scope["path"])
        except ClientDisconnect:  # nobody reads what is answered
            response = error_response(ArmError(400, "RequestIncomplete", "The connection ended before the body did."))
        except Exception as error:
            log.error("%s %r failed [%s]\n%s", http.method, http.scope["path"], request_id, traceback.format_exc())
            message = f"The server failed on this request; its log has the cause under {request_id}."
            response = error_response(outage(error) or ArmError(500, "InternalServerError", message))
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["x-ms-request-id"] = request_id
    response.headers["x-ms-correlation-request-id"] = http.headers.get("x-ms-correlation-request-id", request_id)
    if client := http.headers.get("x-ms-client-request-id"):
        response.headers["x-ms-client-request-id"] = client
    return response


def error_response(error: ArmError) -> JSONResponse:
    return JSONResponse({"error": error.body()}, status_code=error.status, headers=error.headers)
