"""Lists of blobs whose container stands in the prefix, as azureml-dataprep (`azureml-fsspec`, `mltable`) asks for them.

It takes `https://HOST:PORT/ACCOUNT.blob.SUFFIX/CONTAINER/BLOB` apart as the host, a container, and the rest:

    GET /ACCOUNT.blob.SUFFIX?restype=container&comp=list&prefix=CONTAINER/some/

This lists `CONTAINER` by the prefix `some/`, with all names beginning with `CONTAINER/`. A path of an account without a
container has no list of blobs otherwise. Blobs themselves need nothing: their URLs are the same in both readings.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smalt.settings import STORAGE_SUFFIX

_ACCOUNT = re.compile(rf"/[a-z0-9]+\.blob\.{re.escape(STORAGE_SUFFIX)}/?")
_PREFIX = re.compile(rb"(?<![^&])prefix=(?P<container>[a-z0-9$-]+)(?:/|%2[fF]|(?=&|$))")
_NAMES = re.compile(rb"(<Blob>|<BlobPrefix>)(<Name>|<Name Encoded=\"true\">)")


class AccountListing:
    """An ASGI app in front of the Blob protocol's."""

    def __init__(self, blobs: ASGIApp) -> None:
        self._blobs = blobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        container, asked = _asked(scope)
        if not container:
            await self._blobs(scope, receive, send)
            return
        answer = _Answer(send, container)
        await self._blobs(asked, receive, answer.take)


def _asked(scope: Scope) -> tuple[str, Scope]:
    """The container that a list's prefix begins with, and the request for its list; ('', scope) for all others."""
    query: bytes = scope.get("query_string", b"")
    if scope["method"] != "GET" or b"comp=list" not in query or not _ACCOUNT.fullmatch(scope["path"]):
        return "", scope
    found = _PREFIX.search(query) if b"restype=container" in query else None
    if found is None:
        return "", scope
    container = found["container"].decode()
    path = f"{scope['path'].rstrip('/')}/{container}"
    left = query[: found.start()] + b"prefix=" + query[found.end() :]  # the rest is as it was signed
    changed: dict[str, Any] = {"path": path, "raw_path": path.encode(), "query_string": left}
    return container, {**scope, **changed}


class _Answer:
    """Holds a whole answer (5000 names at most) back, and sends it with the container before each name."""

    def __init__(self, send: Send, container: str) -> None:
        self._send = send
        self._container = container.encode()
        self._start: Message = {}
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = _NAMES.sub(lambda found: found[0] + self._container + b"/", self._body)
        headers = [
            (name, str(len(body)).encode() if name == b"content-length" else value)
            for name, value in self._start["headers"]
        ]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
