"""One request and its answer in ASGI's terms, and nothing more.

What a framework would do costs more than a small PUT.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from smalt.blob.errors import BlobError, incomplete_body, invalid_header, invalid_query, length_required, too_large
from smalt.blob.names import Target, parse_target
from smalt.blob.protocol.grants import Grant

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PROTOCOL_HEADER = "x-forwarded-proto"
ADDRESS_HEADER = "x-envoy-external-address"
METADATA = "x-ms-meta-"
_REPEATED_CHARS = 256  # what comes again and again, as a signature does, is not longer
TARGET_PATH = "smalt.target_path"  # of a scope: the path that says what is addressed, where it is not the request's own


class Spelled(bytes):
    """A header's name that keeps its case: uvicorn sends all names in lower case, and metadata's mean what they are."""

    def lower(self) -> bytes:
        return self


class Disconnected(Exception):
    """The client went away: there is nobody to answer."""


class Request:
    """A parsed request. `query` has lower-case names; `grant` is set once it is authorized.

    `known`: whom its token is of, also where that is refused.
    """

    __slots__ = (
        "_finished",
        "_receive",
        "client",
        "grant",
        "headers",
        "known",
        "method",
        "query",
        "raw_path",
        "raw_query",
        "scheme",
        "target",
    )

    grant: Grant

    def __init__(self, scope: Message, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        raw = scope.get("raw_path")
        self.raw_path: str = raw.decode("latin-1") if raw else scope["path"]
        self.raw_query: str = scope["query_string"].decode("latin-1")
        self.query = parse_query(self.raw_query)
        self.scheme: str = self.headers.get(PROTOCOL_HEADER, scope.get("scheme", "http"))
        client = scope.get("client")
        self.client: str = self.headers.get(ADDRESS_HEADER) or (client[0] if client else "")
        target = parse_target(scope.get(TARGET_PATH, self.raw_path), self.headers.get("host", ""))
        if "snapshot" in self.query:
            target = replace(target, snapshot=self.query["snapshot"])
        self.target: Target = target
        self.known = ""
        self._receive = receive
        self._finished = False

    @property
    def endpoint(self) -> str:
        """The account's URL as this client writes it, for XML."""
        host = self.header("host").replace("&", "").replace('"', "").replace("<", "")
        account = self.raw_path.lstrip("/").partition("/")[0]
        path = f"{account}/" if account.startswith(self.target.account + ".") else ""
        return f"{self.scheme}://{host}/{path}"

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def number(self, name: str) -> int | None:
        """A header that is a non-negative number, or None."""
        text = self.headers.get(name)
        if not text:
            return None
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise invalid_header(name, "not a non-negative number")
        return int(text)

    def content_length(self) -> int:
        """Azure demands it wherever there can be a body."""
        length = self.number("content-length")
        if length is None:
            raise length_required()
        return length

    def query_number(self, name: str, low: int, high: int) -> int | None:
        text = self.query.get(name)
        if not text:
            return None
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or not low <= int(text) <= high:
            raise invalid_query(name, f"not a number from {low} to {high}")
        return int(text)

    def metadata(self) -> dict[str, str]:
        """Names in the case that the client wrote, if the server that runs us keeps it (`http`)."""
        return {name[10:]: value for name, value in self.headers.items() if name.startswith(METADATA)}

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises Disconnected if it ends early."""
        while not self._finished:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            self._finished = not message.get("more_body", False)
            if body := message.get("body", b""):
                yield body

    async def discard(self, limit: int) -> None:
        """Read past what is left of a body of at most `limit` bytes.

        A client reads no answer before it has sent all.
        """
        with suppress(BlobError):
            if (self.number("content-length") or 0) <= limit:
                async for _ in self.chunks():
                    pass

    async def body(self, limit: int) -> bytes:
        """The whole of a small body. Raises BlobError(413) above `limit` bytes."""
        length = self.number("content-length")
        if length is not None and length > limit:
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            parts.append(chunk)
        if length is not None and size != length:
            raise incomplete_body()
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Answer:
    """Status and headers, sent once; then, perhaps, a body in pieces."""

    __slots__ = ("_head", "_send", "common", "started")

    def __init__(self, send: Send, head: bool, common: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._head = head
        self.common = common
        self.started = False

    async def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """A whole answer. A HEAD request gets its headers; `content-length` may be given for it."""
        if status != 304 and "content-length" not in headers:
            headers["content-length"] = str(len(body))
        await self.start(status, headers)
        await self.write(b"" if self._head else body, more=False)

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self.started = True
        encoded = [
            (
                Spelled(name, "latin-1") if name.startswith(METADATA) else name.encode("latin-1"),
                value.encode("latin-1", "replace"),
            )
            for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": self.common + encoded})

    async def write(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def parse_query(raw: str) -> dict[str, str]:
    """Names in lower case; `+` is a space, but not in a signature, which is base64."""
    query: dict[str, str] = {}
    for pair in raw.split("&"):
        name, _, value = pair.partition("=")
        if name:
            query[_unquoted(name).lower()] = _unquoted(value)
    if "sig" in query:
        query["sig"] = query["sig"].replace(" ", "+")
    return query


def _unquoted(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return _unquoted_before(text) if len(text) <= _REPEATED_CHARS else unquote_plus(text)


_unquoted_before = lru_cache(1024)(unquote_plus)
