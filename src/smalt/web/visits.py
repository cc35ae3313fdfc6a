"""`POST /connect/v1{WORKSPACE}/jobs/{job}/nodes/{node}`: a process behind the walls of a job that runs.

    …/nodes/{node}/ssh               SSH with the keys of the job: its bytes both ways (`ssh.py`)
    …/nodes/{node}/services/{name}   a link that opens a service of the job in a browser, once
    …/nodes/{node}/terminal          such a link to a terminal in the browser (`terminals.py`)

The body and the answer both go on until one of them ends. The body begins with a line of JSON that says what to run
(`agent.visit.Visit`); then frames go both ways (`agent/door_session.py`). Whoever may write the job may come in, but no
job and no deployment: a job's variables hold what makes it that job. Each visit is in the feed of changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from smalt.agent.visit import Visit
from smalt.arm import services
from smalt.arm.audit import known
from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ids import ML, NotAnId, ResourceId
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.router import Authenticate, Authorize, guarded
from smalt.arm.runs import JOBS
from smalt.arm.services import Place
from smalt.arm.threads import Threads
from smalt.auth.service_access import LINK_LIFETIME_S
from smalt.kinds.jobs.identity import check_visitor
from smalt.kinds.jobs.services import keys
from smalt.kinds.jobs.status import JobStatus
from smalt.store import resources
from smalt.store.resources import Row
from smalt.web.reaching import Reaching
from smalt.web.services import ServiceDoors
from smalt.web.ssh_door import SshDoor

_THREADS = 4
_PATH = re.compile(
    r"/connect/v1(/subscriptions/.+/jobs/[^/]+)/nodes/([0-9]{1,9})(?:/(ssh|terminal)|/services/([^/]+))?/?",
    re.IGNORECASE,
)
_MOST_BYTES = 32 << 10  # of the first line
_PIECE = 64 << 10


class VisitApp:
    """An ASGI app for the paths that `handles` knows."""

    def __init__(
        self, platform: Platform, authenticate: Authenticate, authorize: Authorize, services: ServiceDoors, ssh: SshDoor
    ) -> None:
        self._platform, self._authenticate, self._authorize = platform, authenticate, authorize
        self._services, self._ssh = services, ssh
        self._threads, self._reaching = Threads(_THREADS), Reaching()

    @staticmethod
    def handles(path: str) -> bool:
        return path.startswith("/connect/v1/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        response = await guarded(self._answer, http, self._platform.audit)
        await response(scope, receive, send)

    async def _answer(self, http: HttpRequest) -> Response:
        principal = known(self._authenticate(http.scope))
        found = _PATH.fullmatch(http.scope["path"])
        if found is None or http.method != "POST":
            raise ArmError(404, "NotFound", "Nothing is here but POST /connect/v1{WORKSPACE}/jobs/{JOB}/nodes/{NODE}.")
        id_, node = _job(found[1]), int(found[2])
        row, task = await self._threads.run(self._task, principal, id_, node)
        if found[4]:
            return JSONResponse(await self._threads.run(self._service_link, principal, row, task, found[4]))
        if (found[3] or "").lower() == "terminal":
            return JSONResponse(await self._threads.run(self._link, principal, Place(task, services.TERMINAL)))
        body = http.stream()
        if found[3]:
            line = await self._threads.run(self._ssh_line, row, task, node)
            return _Visit(line, b"", body)
        visit, more = await _first_line(body)
        line = await self._reaching.run(task, self._platform.engine.visit, task, visit)
        try:
            await self._threads.run(self._platform.audit.connected, id_, f"node {node}")
        except BaseException:
            line.close()
            raise
        return _Visit(line, more, body)

    def _ssh_line(self, row: Row, task: str, node: int) -> socket.socket:
        allowed = keys(row, node)
        self._platform.audit.connected(ResourceId.parse(row.written), f"SSH on node {node}")
        return self._ssh.line(task, allowed)

    def _service_link(self, principal: Principal, row: Row, task: str, name: str) -> dict[str, Any]:
        asked = sorted(services.asked(row))
        if name not in asked:
            raise not_found("Service", name)
        return self._link(principal, Place(task, asked.index(name)))

    def _link(self, principal: Principal, place: Place) -> dict[str, Any]:
        url = self._services.link(principal, place)
        return {"url": url, "expiresIn": int(LINK_LIFETIME_S)}

    def _task(self, principal: Principal, id_: ResourceId, node: int) -> tuple[Row, str]:
        """The job, and the name of what runs on its node. Raises ArmError."""
        self._authorize(principal, f"{ML}/workspaces/jobs/write", id_.key)
        if principal.acts_for_what_runs:
            raise ArmError(403, "AuthorizationFailed", "Jobs and deployments connect to no job.")
        with self._platform.database.read() as connection:
            row = resources.get(connection, id_.key)
        if row is None:
            raise not_found("Job", id_.name)
        check_visitor(row, principal)
        tasks = JobStatus.read(row.status).tasks
        if row.ended_at is not None or not tasks:
            message = f"Job '{row.name}' is {row.state}: one connects to a job while it runs, or while it is held."
            raise ArmError(409, "JobNotConnectable", message)
        servers = self._platform.servers
        if servers.me and row.home not in (None, servers.me):
            where = servers.url_of(row.home)
            raise ArmError(409, "JobNotConnectable", f"Job '{row.name}' runs on another server's machine: {where}.")
        if node >= len(tasks):
            raise invalid(f"Job '{row.name}' has {len(tasks)} nodes, the first is 0; there is no node {node}.", "node")
        return row, tasks[node]


class _Visit(Response):
    """The answer that goes on: frames from the process; meanwhile the body's go to it."""

    media_type = "application/octet-stream"

    def __init__(self, line: socket.socket, more: bytes, body: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._line, self._more, self._body = line, more, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._line.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=self._line)
        typing = asyncio.ensure_future(self._type(writer))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            with contextlib.suppress(OSError):
                while data := await reader.read(_PIECE):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            writer.close()

    async def _type(self, writer: asyncio.StreamWriter) -> None:
        """Until the visitor has gone: then the line ends, and with it the process."""
        try:
            writer.write(self._more)
            async for data in self._body:
                writer.write(data)
                await writer.drain()
        except (ClientDisconnect, OSError):
            pass
        writer.close()


def _job(path: str) -> ResourceId:
    with contextlib.suppress(NotAnId):
        id_ = ResourceId.parse(path)
        if id_.kind == JOBS:
            return id_
    raise ArmError(404, "InvalidResourceId", f"'{path[:200]}' is not the path of a job.", target="path")


async def _first_line(body: AsyncIterator[bytes]) -> tuple[Visit, bytes]:
    """What to run, and what of the frames came with it. Raises ArmError(400)."""
    said = b""
    async for data in body:
        said += data
        line, end, more = said.partition(b"\n")
        if end:
            try:
                return Visit.read(json.loads(line))[1], more
            except (ValueError, TypeError, RecursionError) as error:
                raise invalid(f"The first line of the body says what to run, as JSON: {error}.", "body") from None
        if len(said) > _MOST_BYTES:
            break
    raise invalid(f"The body must begin with a line of JSON, at most {_MOST_BYTES} bytes.", "body")
