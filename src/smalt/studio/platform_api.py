"""The platform's API as the Studio asks it: inside the process, and as whoever the browser's session speaks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message, Scope

from smalt.store.document import Document

API_VERSION = "2024-04-01"
# Of the browser's request only what says who asks and from where: the API checks it as if the browser had asked itself.
_PASSED = frozenset((b"cookie", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"host"))


class Refused(Exception):
    """What the API answered instead. `status` is HTTP's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class PlatformApi:
    """For one request of a browser, whose ASGI scope is `scope`. `app` is the whole server."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app, self._scope = app, scope

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """Raises Refused."""
        return await self._ask("GET", path, query or {}, None)

    async def post(self, path: str, body: Document | None = None) -> Document:
        """Raises Refused."""
        return await self._ask("POST", path, {}, body or {})

    async def put(self, path: str, body: Document) -> Document:
        """Raises Refused."""
        return await self._ask("PUT", path, {}, body)

    async def delete(self, path: str) -> Document:
        """Raises Refused."""
        return await self._ask("DELETE", path, {}, None)

    async def patch(self, path: str, body: Document) -> Document:
        """Raises Refused."""
        return await self._ask("PATCH", path, {}, body)

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: Document | None) -> Document:
        content = b"" if body is None else json.dumps(body).encode()
        headers = [one for one in self._scope["headers"] if one[0].lower() in _PASSED]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        scope: dict[str, Any] = {
            **self._scope, "method": method, "path": path, "raw_path": quote(path).encode(), "headers": headers,
            "query_string": urlencode({"api-version": API_VERSION, **query}).encode(), "state": {}, "extensions": {},
        }  # fmt: skip
        answer = _Answer(content)
        await self._app(scope, answer.receive, answer.send)
        return answer.document()


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
            raise Refused(
                self._status, str(error.get("code") or ""), str(error.get("message") or "No reason is known.")
            )
        return found or {}
