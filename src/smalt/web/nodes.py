"""`/nodes/v1/`: where machines dial in. The token of a node opens these routes, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from smalt.arm.errors import ArmError
from smalt.arm.event_stream import while_there
from smalt.arm.outage import outage
from smalt.arm.ports import Carrier
from smalt.arm.router import error_response
from smalt.arm.threads import Threads
from smalt.blob.operations.service import BlobService
from smalt.engines.remote import RemoteEngine
from smalt.engines.remote.messages import HEARTBEAT_S, MOST_BYTES, PREFIX, SESSION_HEADER, Hello, Reports
from smalt.engines.remote.serving import below
from smalt.engines.remote.session import Session
from smalt.kinds.assets.environment_pack import Packs
from smalt.store.nodes import Machine
from smalt.web.node_blobs import NodeBlobs
from smalt.web.node_environments import NodeEnvironments

_LOG = logging.getLogger(__name__)
_THREADS = 8
_REQUEST_BYTES = 16 << 10
_STALLED_S = 60.0  # who takes nothing for so long is given up
Model = TypeVar("Model", bound=BaseModel)


class NodesApp:
    """Raises nothing: what is wrong is an answer with ARM's error."""

    def __init__(
        self,
        engine: RemoteEngine,
        service: Callable[[], BlobService],
        own: Carrier,
        sign: Callable[[bytes, str], bytes],
        packs: Packs,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """`own`: what the platform itself writes. `sign(request, name)`: see `auth.certificates.sign`."""
        self._engine, self._heartbeat_s, self._sign = engine, heartbeat_s, sign
        self._threads = Threads(_THREADS)
        blobs = NodeBlobs(engine, service, self._threads, own)
        environments = NodeEnvironments(engine, packs, service, self._threads, own)
        self._app = Starlette(
            routes=[
                Route(f"{PREFIX}/channel", self._known(self._channel), methods=["POST"]),
                Route(f"{PREFIX}/reports", self._known(self._reports), methods=["POST"]),
                Route(f"{PREFIX}/certificate", self._known(self._certificate), methods=["POST"]),
                Route(f"{PREFIX}/environment", self._known(environments.get), methods=["GET"]),
                Route(f"{PREFIX}/environment", self._known(environments.put), methods=["PUT"]),
                Route(f"{PREFIX}/blobs", self._known(blobs.listing), methods=["GET"]),
                Route(f"{PREFIX}/blob", self._known(blobs.get), methods=["GET"]),
                Route(f"{PREFIX}/blob", self._known(blobs.put), methods=["PUT"]),
                Route(f"{PREFIX}/blob", self._known(blobs.append), methods=["POST"]),
            ],
            exception_handlers={ArmError: _refused, ClientDisconnect: _incomplete},
        )

    @staticmethod
    def handles(path: str) -> bool:
        return path.startswith(f"{PREFIX}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _channel(self, http: Request, machine: Machine) -> Response:
        hello = await _read(http, Hello)
        session = Session(machine.name, hello.incarnation, self._heartbeat_s)
        await self._threads.run(self._engine.open, machine, hello, session)
        return _Line(session, self._engine, self._threads)

    async def _reports(self, http: Request, machine: Machine) -> Response:
        reports = await _read(http, Reports)
        session = http.headers.get(SESSION_HEADER, "")
        gone = await self._threads.run(self._engine.report, machine, session, reports)
        return JSONResponse({"gone": gone})

    async def _certificate(self, http: Request, machine: Machine) -> Response:
        """For the key of a request, with which the machine then answers the gateway as the node that it is."""
        request = await _body(http, _REQUEST_BYTES)
        try:
            made = await self._threads.run(self._sign, request, below(machine.name))
        except ValueError as error:
            raise ArmError(
                400, "InvalidCertificateRequest", f"This is no request for a certificate: {error}."
            ) from error
        return Response(made, media_type="application/x-pem-file")

    def _known(
        self, answer: Callable[[Request, Machine], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answering(http: Request) -> Response:
            try:
                return await answer(http, await self._machine(http))
            except (ArmError, ClientDisconnect):
                raise
            except Exception as error:  # the edge: a database that is away, or a failure of our own
                known = outage(error)
                if known is None:
                    _LOG.exception("%s %s failed", http.method, http.url.path)
                    known = ArmError(500, "InternalServerError", "The server failed. Its log says why.")
                return error_response(known)

        return answering

    async def _machine(self, http: Request) -> Machine:
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        return await self._threads.run(self._engine.known.with_token, token if scheme.lower() == "bearer" else "")


class _Line(Response):
    """The answer to a hello, which goes on: first the session's id, then orders."""

    media_type = "application/x-ndjson"
    charset = "utf-8"

    def __init__(self, session: Session, engine: RemoteEngine, threads: Threads) -> None:
        super().__init__(headers={"Cache-Control": "no-store", SESSION_HEADER: session.id})
        del self.headers["content-length"]
        self._session, self._engine, self._threads = session, engine, threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_there(receive, self._write(send))
        finally:
            await asyncio.shield(self._threads.run(self._engine.closed, self._session))

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with contextlib.suppress(TimeoutError):
            async for order in self._session.orders():
                async with asyncio.timeout(_STALLED_S):
                    line = json.dumps(order).encode() + b"\n"
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(http: Request, model: type[Model]) -> Model:
    """The body. Raises ArmError(400, 413)."""
    try:
        return model.model_validate_json(await _body(http, MOST_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(one) for one in first["loc"])
        raise ArmError(400, "ValidationError", f"{where or 'body'}: {first['msg']}.", where or None) from error


async def _body(http: Request, most: int) -> bytes:
    """Raises ArmError(413)."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > most:
            raise ArmError(413, "RequestTooLarge", f"A node sends at most {most} bytes here.")
    return bytes(body)


async def _incomplete(_: Request, __: Exception) -> Response:
    return error_response(ArmError(400, "RequestIncomplete", "The connection ended before the body did."))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ArmError)
    return error_response(error)
