"""The way to MLflow's process: a pool of connections to its socket, and patience while the process is being started.

It runs only where it is needed: who finds nobody asks for it, and waits. Nor must a job notice that MLflow was killed.
So a request that found nobody waits; one whose connection broke before an answer came is sent again if that does
no harm: reads, and what jobs log, which is idempotent by key. Anything else may have been done already: whoever asked
must know, and decides (for runs that are made, `run_creation` finds it out).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx

PATIENCE_S = 60.0  # its start takes 5 s, and several times that beside other work
ANSWER_S = 300.0
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 0.5
_BUFFERED_BYTES = 8 << 20
_BROKEN = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


class Unavailable(Exception):
    """MLflow's process did not come back in time."""


@dataclass(frozen=True)
class Outgoing:
    method: str
    target: str  # path and query, percent-encoded
    headers: Sequence[tuple[str, str]]
    body: bytes
    repeatable: bool  # to do it twice is to do it once


class Upstream:
    """`send` gives an answer whose body is read already, unless it is large: then the caller reads and closes it."""

    def __init__(
        self,
        socket: Path,
        patience_s: float = PATIENCE_S,
        answer_s: float = ANSWER_S,
        need: Callable[[], None] = lambda: None,
    ) -> None:
        """`need` has the process started, if it is not; it does not wait for that."""
        self._socket, self.need = socket, need
        self._patience_s = patience_s
        self._probing = asyncio.Lock()
        self._answer_s = answer_s

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(self._socket),
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # a unix socket has no TLS; the default reads all CAs
                limits=httpx.Limits(max_connections=256, max_keepalive_connections=32),
            ),
            timeout=httpx.Timeout(self._answer_s, connect=5, pool=60),
        )

    async def send(self, request: Outgoing) -> httpx.Response:
        """Raises Unavailable after the patience is over, or where MLflow may have done what must not be done twice."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                return await self._once(request)
            except (
                httpx.TimeoutException
            ) as error:  # it lives, and is too busy or hangs: then the supervisor replaces it
                raise Unavailable("it did not answer in time, and may have done what was asked") from error
            except _BROKEN as error:
                if not (request.repeatable or isinstance(error, httpx.ConnectError)):
                    raise Unavailable("it ended before it answered, and may have done what was asked") from error
                if asyncio.get_running_loop().time() >= deadline:
                    raise Unavailable(str(error)) from error
            await self._wait(deadline)

    async def close(self) -> None:
        await self._client.aclose()

    async def _once(self, request: Outgoing) -> httpx.Response:
        built = self._client.build_request(
            request.method, f"http://mlflow{request.target}", headers=list(request.headers), content=request.body
        )
        answer = await self._client.send(built, stream=True)
        if int(answer.headers.get("content-length") or 0) <= _BUFFERED_BYTES:
            try:
                await answer.aread()
            finally:
                await answer.aclose()
        return answer

    async def _wait(self, deadline: float) -> None:
        """Until somebody listens, or the deadline. One request looks, the others wait for it."""
        loop, wait_s = asyncio.get_running_loop(), _FIRST_WAIT_S
        async with self._probing:
            while loop.time() < deadline:
                self.need()
                try:
                    _, writer = await asyncio.open_unix_connection(str(self._socket))
                except OSError:
                    await asyncio.sleep(min(wait_s, max(0.0, deadline - loop.time())))
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    continue
                writer.close()
                return
