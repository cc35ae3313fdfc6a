"""The platform's API as the Studio asks it: inside the process, and as whoever the browser's session speaks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message, Scope

from smalt.arm.ports import Principal
from smalt.auth.authentication import GUEST
from smalt.store.document import Document

API_VERSION = "2024-04-01"
# Of the browser's request only what says who asks and from where: the API checks it as if the browser had asked itself.
_PASSED = frozenset((b"cookie", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"host"))

_FROM_WHERE = frozenset((b"origin", b"sec-fetch-site", b"sec-fetch-mode"))


class Refused(Exception):
    """What the API answered instead. `status` is HTTP's."""

    def __init__(self, status: int, code: str, message: str, details: Sequence[tuple[str, str]] = ()) -> None:
        """`details`: field (as the API or the form calls it; '' for none) and message of each thing that is wrong."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.details: Sequence[tuple[str, str]] = details or [("", message)]

    @classmethod
    def at(cls, field: str, code: str, message: str) -> Refused:
        """For what is wrong in one field of a form."""
        return cls(400, code, message, [(field, message)])


@contextmanager
def meaning(**fields: str) -> Iterator[None]:
    """What the API refuses there is said of the form's fields: `meaning(name="endpoint")`."""
    try:
        yield
    except Refused as error:
        error.details = [(fields.get(target, target), said) for target, said in error.details]
        raise


@dataclass(frozen=True)
class Streamed:
    """An answer whose body comes in pieces, as they are taken."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class PlatformApi:
    """For one request of a browser, whose ASGI scope is `scope`. `app` is the whole server.

    `guest`: whoever asks came with a shared link, and no session of the browser counts.
    """

    def __init__(self, app: ASGIApp, scope: Scope, guest: Principal | None = None) -> None:
        self._app, self._scope, self._guest = app, scope, guest

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """Raises Refused."""
        return await self._ask("GET", path, query or {}, None)

    async def post(self, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None) -> Document:
        """Raises Refused."""
        return await self._ask("POST", path, {}, body or {}, headers)

    async def patch(self, path: str, body: Document, if_match: str = "") -> Document:
        """Raises Refused; of another ETag than `if_match`, where that is given."""
        return await self._ask("PATCH", path, {}, body, {"if-match": if_match} if if_match else None)

    async def put(
        self,
        path: str,
        body: Document,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Document:
        """Raises Refused."""
        try:
            return await self._ask("PUT", path, query or {}, body, headers)
        except Refused as error:
            if error.status == 412 and "if-none-match" in (headers or {}):
                error.details = [("name", error.message)]  # what is to be new is there
            raise

    async def delete(self, path: str) -> Document:
        """Raises Refused."""
        return await self._ask("DELETE", path, {}, None)

    async def read_secrets(self, path: str) -> Document:
        """What a POST answers that changes nothing, for a page that is a GET. Raises Refused.

        The page is ours, so it says so: a browser sends no origin with the GET by which it was opened.
        """
        return await self._ask("POST", path, {}, {}, own=True)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Streamed]:
        """An answer of the Blob protocol. `query` as it stands in a URL; at the end what was not taken is given up."""
        pipe = _Pipe()
        scope = self._asking(method, path, query, [(n.encode(), v.encode()) for n, v in (headers or {}).items()])
        task = asyncio.create_task(pipe.run(self._app, scope))
        try:
            status, told = await pipe.begun()
            yield Streamed(status, told, pipe.pieces())
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Document | None,
        more: Mapping[str, str] | None = None,
        own: bool = False,
    ) -> Document:
        content = b"" if body is None else json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in (more or {}).items()]
        scope = self._asking(method, path, urlencode({"api-version": API_VERSION, **query}), headers)
        if own:
            host = next((value for name, value in scope["headers"] if name.lower() == b"host"), b"")
            kept = [one for one in scope["headers"] if one[0].lower() not in _FROM_WHERE]
            scope["headers"] = [*kept, (b"origin", b"https://" + host), (b"sec-fetch-site", b"same-origin")]
        answer = _Answer(content)
        await self._app(scope, answer.receive, answer.send)
        return answer.document()

    def _asking(self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        passed = [one for one in self._scope["headers"] if one[0].lower() in _PASSED]
        return {
            **self._scope,
            GUEST: self._guest,
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "headers": [*passed, *headers],
            "query_string": query.encode(),
            "state": {},
            "extensions": {},
        }


class _Pipe:
    """A GET that never leaves the process, with few pieces of its answer in memory."""

    def __init__(self) -> None:
        self._messages = asyncio.Queue[Message | Exception | None](2)
        self._asked = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        except Exception as error:  # whoever takes the pieces hears of it
            await self._messages.put(error)
        await self._messages.put(None)

    async def begun(self) -> tuple[int, dict[str, str]]:
        message = await self._next()
        assert message is not None, "an answer begins before it ends"
        return message["status"], {n.decode().lower(): v.decode("latin-1") for n, v in message["headers"]}

    async def pieces(self) -> AsyncIterator[bytes]:
        while (message := await self._next()) is not None:
            if piece := message.get("body"):
                yield piece

    async def _next(self) -> Message | None:
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()  # nobody hangs up: the task is ended
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}


class _Answer:
    """Both ends of one request that never leaves the process."""

    def __init__(self, content: bytes) -> None:
        self._content, self._sent = content, False
        self._status, self._body = 500, bytearray()

    async def receive(self) -> Message:
        if self._sent:
            return {"type": "http.disconnect"}
        self._sent = True
        return {"type": "http.request", "body": self._content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._body += message.get("body", b"")

    def document(self) -> Document:
        """Raises Refused."""
        try:
            found = json.loads(bytes(self._body) or b"{}")
        except ValueError:
            found = {}
        if self._status >= 400:
            error = found.get("error") or {}
            details = [
                (str(one.get("target") or ""), str(one.get("message") or "")) for one in error.get("details") or ()
            ]
            message = str(error.get("message") or "No reason is known.")
            own = [(str(error.get("target") or ""), message)]
            raise Refused(self._status, str(error.get("code") or ""), message, details or own)
        return found or {}
