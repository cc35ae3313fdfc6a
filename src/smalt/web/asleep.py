"""Requests to deployments that have no instance: each waits, and is passed on to who came up.

One that sleeps is woken; of one whose instances have all ended the successors are on their way.

The gateway sends them here, on a socket of their own, after it has checked who asks, and says for which deployment they
are. Once an instance is there it sends the next ones to that. Bodies and answers go through as they come.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from smalt.agent.wire import Address
from smalt.arm.platform import Platform
from smalt.arm.ports.serving import DEPLOYMENTS, ENDPOINTS
from smalt.arm.scale import wake
from smalt.arm.threads import Threads
from smalt.auth.certificates import gateway_context
from smalt.gateway.clusters import HEALTH_HOST, HEALTH_PATH
from smalt.gateway.listener import ASLEEP_HEADER, INSTANCE_ENDED, PROCESSING
from smalt.gateway.routes import START_S
from smalt.kinds.serving import hosting, replicas, scaling
from smalt.kinds.serving.place import addresses_here
from smalt.settings import Settings
from smalt.store import resources
from smalt.store.resources import Row
from smalt.web.refusals import after_the_body

_THREADS = 4
_PAUSE_S = 0.05
_LOOK_S = 5.0  # a hint may be lost
_DEATHS_MOST = 3  # of an instance that is to come up: then whoever waits is told why
_SOON_S = 5.0  # until a successor is started: for one that comes later nobody waits
_WAITING_MOST = 1000  # requests for one deployment
_AHEAD_BYTES = 64 << 10  # of the body of one that waits
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", ASLEEP_HEADER})


@dataclass(frozen=True)
class _State:
    """Of a deployment: where it listens, whether it is to have an instance, and why it cannot be waited for."""

    key: str = ""
    sleeps: bool = False
    addresses: tuple[Address, ...] = ()
    why: str = ""
    deaths: int = 0


@dataclass
class _Look:
    """One look at a deployment, and how many wait for what it sees."""

    task: asyncio.Task[_State]
    waiting: int = 0


class AsleepApp:
    """The ASGI app behind `settings.asleep_socket`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._threads = Threads(_THREADS)
        self._looks: dict[str, _Look] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        receive, send = after_the_body(scope, receive, send)
        ahead = _Ahead(receive)
        request = Request(scope, ahead)
        wanted = request.headers.get(ASLEEP_HEADER, "")
        if wanted:
            answer: Response = await self._answer(request, wanted, ahead)
        elif request.headers.get("host") == HEALTH_HOST and request.url.path == HEALTH_PATH:
            answer = PlainTextResponse("Healthy")
        else:  # it was on its way while the last instance went: its route is that of before
            answer = _unavailable("This deployment has no instance at the moment. Try again.")
        await answer(scope, receive, send)

    async def _answer(self, request: Request, wanted: str, ahead: _Ahead) -> Response:
        endpoint, _, name = wanted.partition("/")
        until = asyncio.get_running_loop().time() + START_S
        while True:
            try:
                async with asyncio.timeout_at(until):
                    state = await _unless_gone(self._shared(endpoint, name), ahead)
            except ClientDisconnect:
                return _unavailable("Who asked has gone.")
            except TimeoutError:
                return _unavailable(f"No instance of deployment '{name}' came up within {START_S:g} s.")
            if state.why:
                return _unavailable(state.why)
            if tell := (request.scope.get("extensions") or {}).get(PROCESSING):
                tell()  # from here on it is repeated by nobody, also where this server ends
            try:
                return await _passed_on(request, random.choice(state.addresses), self._platform.settings)
            except httpx.ConnectError:  # it ended at this moment; nothing was sent
                await asyncio.sleep(_PAUSE_S)

    async def _shared(self, endpoint: str, name: str) -> _State:
        """As `_awake` has it, which runs once for all that wait for the same deployment, and ends with the last."""
        key = f"{endpoint}/{name}".lower()
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = _Look(asyncio.create_task(self._awake(endpoint, name)))
        elif look.waiting >= _WAITING_MOST:
            return _State(why=f"{_WAITING_MOST} requests wait already for an instance of deployment '{name}'.")
        look.waiting += 1
        try:
            return await asyncio.shield(look.task)
        finally:
            look.waiting -= 1
            if not look.waiting:
                del self._looks[key]
                look.task.cancel()

    async def _awake(self, endpoint: str, name: str) -> _State:
        """As it is once it has an instance, or none can be waited for."""
        state = await self._threads.run(self._look, endpoint, name)
        deaths = state.deaths
        if state.why:
            return state
        with self._platform.hub.subscribe(state.key) as news:
            while True:
                if state.sleeps:
                    await self._threads.run(self._wake, state.key)
                state = await self._threads.run(self._look, endpoint, name)
                if state.addresses or state.why:
                    return state
                if state.deaths >= deaths + _DEATHS_MOST:
                    why = f"Deployment '{name}' has no instance, and those that were started ended. Read its logs."
                    return _State(state.key, why=why)
                await news.changed(_LOOK_S)

    def _wake(self, key: str) -> None:
        platform = self._platform
        with platform.database.write() as connection:
            row = resources.get(connection, key)
            if row is not None and not scaling.count(row):
                wake(connection, row, platform.clock())

    def _look(self, endpoint: str, name: str) -> _State:
        with self._platform.database.read() as connection:
            found = resources.by_lookup(connection, ENDPOINTS, endpoint.lower(), 1)
            key = f"{found[0].id}/{DEPLOYMENTS.rpartition('/')[2]}/{name.lower()}" if found else ""
            row = resources.get(connection, key) if key else None
        if row is None or row.deleting:
            return _State(why=f"There is no deployment '{name}' of endpoint '{endpoint}' any more.")
        return self._state(row)

    def _state(self, row: Row) -> _State:
        live, target = row.status.get("live") or {}, row.status.get("target") or {}
        deaths = sum(int(one["count"]) for one in target.get("deaths", {}).values())
        found = tuple(Address(one) for one in addresses_here(self._platform, live).values())
        now, attempts = self._platform.clock(), target.get("attempts", ())
        left_s = min((replicas.pause_left_s(target, at, now) for at in range(len(attempts))), default=0.0)
        why = ""
        if left_s > _SOON_S and not found:
            why = f"The instances of deployment '{row.name}' end again and again. Read its logs."
        elif not found and scaling.least(row):  # others sleep: a machine may be made for the one that is woken
            lacking = hosting.unplaced(self._platform, row, replicas.names(row, target) if attempts else ())
            why = f"Deployment '{row.name}' has no instance: it waits for {lacking}" if lacking else ""
        return _State(row.id, not scaling.count(row), found, why, deaths)


class _Ahead:
    """`receive` for one that waits: what was read to see whether the client is there comes first."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._kept, self._bytes = receive, deque[Message](), 0

    async def __call__(self) -> Message:
        return self._kept.popleft() if self._kept else await self._receive()

    async def gone(self) -> bool:
        """True when the client has gone; False where its body is too large to be read ahead: that is not seen then."""
        while self._bytes <= _AHEAD_BYTES:
            message = await self._receive()
            self._kept.append(message)
            if message["type"] == "http.disconnect":
                return True
            self._bytes += len(message.get("body", b"")) or 1
        return False


async def _unless_gone(look: Coroutine[None, None, _State], ahead: _Ahead) -> _State:
    """Raises ClientDisconnect where the client goes before."""
    reading, looking = asyncio.create_task(ahead.gone()), asyncio.create_task(look)
    try:
        await asyncio.wait((reading, looking), return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and not looking.done() and reading.result():
            raise ClientDisconnect
        return await looking
    finally:
        reading.cancel()
        looking.cancel()
        await asyncio.gather(reading, looking, return_exceptions=True)  # one reads at a time


async def _passed_on(request: Request, address: Address, settings: Settings) -> Response:
    """Raises ConnectError where nobody listens there any more."""
    client = httpx.AsyncClient(transport=_transport(address, settings), timeout=None, trust_env=False)
    to = "http://replica/" if address.path else f"{'https' if address.name else 'http'}://{address.rpartition('@')[2]}/"
    named = {"sni_hostname": address.name} if address.name else {}
    query = request.scope["query_string"]
    target = request.scope["raw_path"] + (b"?" + query if query else b"")  # as it came
    headers = [(name, value) for name, value in request.headers.raw if name.decode("latin-1").lower() not in _HOP]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    try:
        outgoing = client.build_request(
            request.method,
            to,
            headers=headers,
            content=_body(request) if has_body else None,
            extensions={"target": target, **named},
        )
        answer = await client.send(outgoing, stream=True)
    except httpx.ConnectError:
        await client.aclose()
        raise
    except (httpx.RemoteProtocolError, httpx.ReadError):  # it had the request in hand: given to nobody else
        await client.aclose()
        return Response(INSTANCE_ENDED, 502, media_type="application/json")
    except (httpx.HTTPError, ClientDisconnect) as error:
        await client.aclose()
        return _unavailable(f"The instance that came up does not answer: {str(error)[:200]}")
    except BaseException:  # it is cancelled
        await client.aclose()
        raise
    return _Relayed(client, answer)


def _transport(address: Address, settings: Settings) -> httpx.AsyncHTTPTransport:
    if address.path:
        return httpx.AsyncHTTPTransport(uds=address.path)
    return httpx.AsyncHTTPTransport(verify=gateway_context(settings)) if address.name else httpx.AsyncHTTPTransport()


class _Relayed(StreamingResponse):
    """An answer of an instance. However it ends, the connection there is closed."""

    def __init__(self, client: httpx.AsyncClient, answer: httpx.Response) -> None:
        super().__init__(answer.aiter_raw(), answer.status_code)
        self._client, self._answer = client, answer
        self.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.decode("latin-1").lower() not in _HOP
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()
            await self._client.aclose()


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


def _unavailable(why: str) -> Response:
    body = {"error": {"code": "NoInstance", "message": why}}
    return JSONResponse(body, 503, {"Retry-After": "5"})
