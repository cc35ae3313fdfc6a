"""Services of jobs and instances: who comes to one (by its host name) is looked at, then let through to its program.

Envoy sends each request on a connection of its own (`gateway/clusters.py`). What the visitor shows to be let in, token
or cookie, goes no further; all else is passed on as it is, and so is what comes after, be it a body, an answer or the
frames of a WebSocket. All of it lives in one thread with an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlencode

import h11
import uvloop

from smalt.arm import services
from smalt.arm.audit import known
from smalt.arm.errors import ArmError, not_found
from smalt.arm.ids import ResourceId
from smalt.arm.outage import outage
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.router import Authenticate, Authorize
from smalt.arm.services import Place
from smalt.arm.threads import Threads
from smalt.auth.service_access import ENTER, ServiceAccess, is_of_own_page, without_own
from smalt.store import author
from smalt.web.reaching import Reaching
from smalt.web.relay import relay
from smalt.web.targets import Target, target
from smalt.web.terminals import SHELL, TerminalPage, attend, visit_of
from smalt.web.websocket import GOING_AWAY, WebSocket, accepted

OPEN = "/services/open"
BACKLOG = 1024
_THREADS = 16
_HEAD_BYTES, _HEAD_S = 64 << 10, 30.0
_OURS = ("authorization", "cookie", "connection", "keep-alive", "proxy-connection", "x-forwarded-host")
_PATH = "/?&=%#:,;+@~!$'()*"  # what may stand in a path and its query beside letters and digits
Found = TypeVar("Found")
_log = logging.getLogger("smalt.services")


class ServiceDoors:
    """What is asked of the database and the engine. Raises ArmError; reads the database."""

    def __init__(self, platform: Platform, access: ServiceAccess, authorize: Authorize) -> None:
        self.access = access
        self._platform, self._authorize = platform, authorize

    def target(self, principal: Principal, place: Place) -> Target:
        return target(self._platform, self._authorize, principal, place)

    def link(self, principal: Principal, place: Place, to: str = "/") -> str:
        """For a browser."""
        title = self.target(principal, place).title
        origin = services.origin(self._platform.settings.url, place, title)
        return self.access.link(principal, str(place), origin, to)

    def line(self, target: Target) -> socket.socket:
        return self._platform.engine.reach(target.task, target.port)

    def shell(self, target: Target, path: str) -> socket.socket:
        """`path`: with the terminal's size."""
        return self._platform.engine.visit(target.task, visit_of(path))

    def page_of(self, target: Target) -> str:
        """The job's, in the Studio."""
        about = ResourceId.parse(target.row.written)
        query = urlencode({"wsid": str(about.workspace)})
        return f"{self._platform.settings.url}/studio/jobs/{quote(about.name)}?{query}"

    def came(self, principal: Principal, target: Target) -> None:
        """It is in the feed."""
        with author.on_behalf(str(uuid.uuid4())):
            known(principal)
            about = ResourceId.parse(target.row.written)
            of_node = f" of node {target.node}" if about.kind == "workspaces/jobs" else ""
            what = target.name if not target.port else f"service {target.name}"
            self._platform.audit.connected(about, f"{what}{of_node}")


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: Sequence[tuple[str, str]]

    @property
    def named(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers}

    @property
    def cookies(self) -> str:
        return "; ".join(value for name, value in self.headers if name.lower() == "cookie")

    @property
    def shows_page(self) -> bool:
        return self.method == "GET" and "text/html" in self.named.get("accept", "")

    def passed_on(self, secret: str = "") -> bytes:
        """Its head, without what opened the door. `secret`: what the program behind it wants to be shown."""
        upgrade = "upgrade" in self.named
        kept = [
            (name, value)
            for name, value in self.headers
            if name.lower() not in _OURS and not name.lower().startswith("x-envoy-")
        ]
        if cookies := without_own(self.cookies):
            kept.append(("Cookie", cookies))
        if secret:
            kept.append(("Authorization", f"token {secret}"))
        kept.append(("Connection", "Upgrade" if upgrade else "close"))
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True)
class _Way:
    """What is behind the gate: a line to a program, and its secret; or, with `upgraded`, to the shell of a terminal.

    `upgraded` is the head of the answer then; without a line `why` says to the page why there is none.
    """

    line: socket.socket | None
    secret: str = ""
    upgraded: bytes = b""
    why: str = ""


class _Answered(Exception):
    """There is nothing to pass on: this is the answer."""

    def __init__(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        named = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        named |= {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{key}: {value}" for key, value in named.items())]
        self.bytes = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class ServiceGate:
    """`authenticate` knows bearer tokens alone: what a cookie of the platform opens is not here."""

    def __init__(
        self, platform: Platform, doors: ServiceDoors, authenticate: Authenticate, terminal: TerminalPage
    ) -> None:
        self._platform, self._doors, self._authenticate = platform, doors, authenticate
        self._terminal = terminal
        self._threads, self._reaching = Threads(_THREADS), Reaching()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """In this loop, from any thread. Raises ArmError(503) while there is none."""
        if self._loop is None:
            work.close()
            raise ArmError(503, "ServiceUnavailable", "The server is starting.", headers={"Retry-After": "1"})

        async def begin() -> None:
            task = asyncio.ensure_future(work)
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

        asyncio.run_coroutine_threadsafe(begin(), self._loop)

    def run(self, listener: socket.socket, ended: threading.Event) -> None:
        """In a thread of its own, until `ended`."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener, ended))

    async def _serve(self, listener: socket.socket, ended: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._connected, sock=listener, limit=_HEAD_BYTES, backlog=BACKLOG)
        async with server:
            await asyncio.to_thread(ended.wait)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _is_ours(writer):
                await self._attend(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # whoever it was has gone
        except Exception:  # the edge
            _log.exception("a request to a service failed")
        finally:
            writer.close()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as held:
            try:
                async with asyncio.timeout(_HEAD_S):
                    request = _parsed(await reader.readuntil(b"\r\n\r\n"))
                way = await self._admitted(request, held)
            except asyncio.LimitOverrunError:
                answer = _Answered(431)
            except _Answered as found:
                answer = found
            else:
                if way.upgraded:
                    await _in_terminal(reader, writer, way)
                elif way.line:
                    await relay(reader, writer, way.line, request.passed_on(way.secret))
                return
        writer.write(answer.bytes)
        await writer.drain()

    async def _admitted(self, request: _Request, held: contextlib.ExitStack) -> _Way:
        """With a line that is counted as long as `held` is. Raises _Answered."""
        host = request.named.get("host", "")
        try:
            place = services.place_of(host)
            if place is None:
                raise not_found("Service", host[:100])
            if request.path.partition("?")[0] == ENTER:
                await self._run(self._enter, request, place)
            principal, shown, target = await self._run(self._looked_up, request, place, f"https://{host}")
            if not target.port:
                return await self._shell(request, principal, target, held)
            line = await self._line(held, target, self._doors.line, target)
            if shown:
                await self._run(self._doors.came, principal, target)
            return _Way(line, target.secret)
        except ArmError as error:
            raise _refusal(error, request) from None
        except _Answered:
            raise
        except Exception as error:
            known_ = outage(error)
            if known_ is None:
                _log.exception("a request to %s failed", host[:100])
                known_ = ArmError(500, "InternalServerError", "The server failed. Its log says why.")
            raise _refusal(known_, request) from None

    async def _line(
        self, held: contextlib.ExitStack, target: Target, call: Callable[..., socket.socket], *arguments: object
    ) -> socket.socket:
        held.enter_context(self._reaching.held(target.task))
        line = await self._reaching.run(target.task, call, *arguments)
        held.callback(line.close)
        return line

    async def _shell(self, request: _Request, principal: Principal, target: Target, held: contextlib.ExitStack) -> _Way:
        """Of a terminal: its page is the answer, what that asks for a shell. Raises ArmError, _Answered."""
        path = request.path.partition("?")[0]
        upgraded = accepted(request.named) if path == SHELL and request.method == "GET" else None
        if upgraded is None:
            await self._run(self._show, path, target)
            raise not_found("Page", path[:100])
        try:
            line = await self._line(held, target, self._doors.shell, target, request.path)
        except ArmError as error:  # the page can read no other answer
            return _Way(None, upgraded=upgraded, why=error.message)
        await self._run(self._doors.came, principal, target)
        return _Way(line, upgraded=upgraded)

    def _show(self, path: str, target: Target) -> None:
        """Raises _Answered where there is something of that name. Reads a file."""
        found = self._terminal.file(path, target.row.name, target.node, self._doors.page_of(target))
        if found is not None:
            raise _Answered(200, found[0], **found[1])

    async def _run(self, call: Callable[..., Found], *arguments: object) -> Found:
        return await self._threads.run(call, *arguments)

    def _known(self, request: _Request, place: Place, origin: str) -> tuple[Principal, bool]:
        """Who comes, and whether by a token."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers]
        if request.named.get("authorization", "").lower().startswith("bearer "):  # JupyterLab's pages send another
            return self._authenticate({"headers": headers, "method": request.method}), True
        principal = self._doors.access.read(request.cookies, str(place))
        if principal is None:
            if request.shows_page:
                url = f"{self._platform.settings.url}{OPEN}?service={place!s}&to={quote(request.path, safe='')}"
                raise _Answered(302, Location=url)
            raise ArmError(401, "AuthenticationFailed", "Send a token of the workspace: 'Authorization: Bearer …'.")
        if not is_of_own_page(request.method, request.named, origin):
            raise ArmError(403, "OriginRefused", "A page of another origin may not use your visit of this service.")
        return principal, False

    def _looked_up(self, request: _Request, place: Place, origin: str) -> tuple[Principal, bool, Target]:
        principal, shown = self._known(request, place, origin)
        return principal, shown, self._doors.target(principal, place)

    def _enter(self, request: _Request, place: Place) -> None:
        """By a link; then the cookie is there. Raises _Answered."""
        query = parse_qs(request.path.partition("?")[2])
        to = (query.get("to") or ["/"])[0]
        came = self._doors.access.redeem((query.get("code") or [""])[0], str(place))
        if came is None or request.method != "GET":
            raise ArmError(401, "LinkUsed", "This link was used already, or is older than a minute. Ask for another.")
        principal, cookie = came
        self._doors.came(principal, self._doors.target(principal, place))
        there = quote(to, safe=_PATH) if _is_path(to) else "/"
        raise _Answered(303, Location=there, **{"Set-Cookie": cookie, "Referrer-Policy": "no-referrer"})


async def _in_terminal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
    writer.write(way.upgraded)
    web = WebSocket(reader, writer)
    if way.line is None:
        await web.close(GOING_AWAY, way.why)
    else:
        await attend(web, way.line)


def _parsed(head: bytes) -> _Request:
    """Raises _Answered(400)."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        raise _Answered(400) from None
    if not isinstance(event, h11.Request):
        raise _Answered(400)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items()]
    return _Request(event.method.decode(), event.target.decode("latin-1"), headers)


def _refusal(error: ArmError, request: _Request) -> _Answered:
    if request.shows_page:
        return _Answered(error.status, f"{error.message}\n".encode())
    body = json.dumps({"error": error.body()}).encode()
    return _Answered(error.status, body, **{**error.headers, "Content-Type": "application/json"})


def _is_path(to: str) -> bool:
    return to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether a process of the platform's own user is at the other end."""
    peer = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return uid in (0, os.geteuid())
    return False
