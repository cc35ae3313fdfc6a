"""HTTP/1.1 on asyncio, small enough to be ours, so that nothing is installed beside the user's packages.

It reads requests with Content-Length or chunked bodies, keeps connections alive, answers pipelined requests in order
(one at a time), and refuses what could be read in two ways (RFC 9112: both lengths, folded headers, bare CR). A client
that ends its sending side has left: a half-closed connection cannot be told from a closed one, and scoring for clients
that are gone is what an overloaded server can least afford.
"""

from __future__ import annotations

import asyncio
import ctypes
import re
import socket
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable
from urllib.parse import unquote

from .bodies import PASSED_BYTES, BadRequest, ChunkedBody, body_length, too_large

MAX_HEAD_BYTES = 64 * 1024
LINGER_S = 2.0
PIPELINE_BYTES = 256 * 1024  # what a client may send ahead while its request is being answered

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = {204, 304}
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
_AT_ONCE = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
# With the interpreter's lock held: a worker that let go of it here would wait for the HTTP thread before each request.
_send = ctypes.PyDLL(None).send
_send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)


class Request:
    """One request. `headers` has lower-case names; repeated headers are joined by ", "; values are str (latin-1)."""

    __slots__ = ("arrived", "body", "chunks", "headers", "id", "keep_alive", "method", "path", "query", "target")

    def __init__(self, method: str, target: str, headers: dict[str, str], keep_alive: bool) -> None:
        self.method = method
        self.target = target
        path, _, self.query = target.partition("#")[0].partition("?")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.keep_alive = keep_alive
        self.chunks = True  # whether its client reads a body in chunks
        self.body = b""
        self.id = ""  # given by the routes
        self.arrived = time.perf_counter()


class Response:
    """One answer. `headers` are (name, value) pairs; Content-Length, Date and Connection are added when it is sent."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.body = body
        self.headers = headers


class Clock:
    """The Date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def date(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, formatdate(now, usegmt=True)
        return self._text


def encode(response: Response, date: str, keep_alive: bool, head_only: bool, chunked: bool = False) -> bytes:
    """The bytes of a response, its head alone where its body comes `chunked`. Header values cannot break out of their
    line: CR, LF and NUL become spaces."""
    status = response.status
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", "Date: " + date]
    for name, value in response.headers:
        line = name + ": " + value
        if "\n" in line or "\r" in line or "\0" in line:
            line = line.replace("\r", " ").replace("\n", " ").replace("\0", " ")
        lines.append(line)
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif status not in _NO_BODY:
        lines.append(f"Content-Length: {len(response.body)}")
    if not keep_alive:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return head if head_only or status in _NO_BODY else head + response.body


def parse_head(head: bytes) -> Request:
    """`head` is everything before the empty line. Raises BadRequest."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or not _TOKEN.match(parts[0]) or not parts[1]:
        raise BadRequest(400, "The request line is malformed.")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(505, "Only HTTP/1.0 and HTTP/1.1 are supported.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.match(name) or b"\n" in value or b"\r" in value or b"\0" in value:
            raise BadRequest(400, "A header line is malformed.")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in ("content-length", "host") and headers[key] != text:
                raise BadRequest(400, f"The header {key} is given twice with different values.")
            text = text if key in ("content-length", "host") else headers[key] + ", " + text
        headers[key] = text
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if version == b"HTTP/1.1" else "keep-alive" in connection
    text = target.decode("latin-1")
    if text.startswith(("http://", "https://")):
        text = "/" + text.split("://", 1)[1].partition("/")[2]
    request = Request(method.decode("ascii"), text, headers, keep_alive)
    request.chunks = version == b"HTTP/1.1"
    return request


class Connection(asyncio.Protocol):
    """One client connection. `handle(request, connection)` must lead to exactly one `connection.send(response)`."""

    def __init__(
        self, handle: Callable[[Request, Connection], None], refuse: Callable[[int, str], Response], site: Site
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._site = site
        self._transport: Any = None
        self._buffer = bytearray()
        self._request: Request | None = None  # read up to its body
        self._length = 0
        self._over = False  # its body is too large, and read past
        self._chunked: ChunkedBody | None = None
        self._answering: Request | None = None
        self._paused = False
        self._failed = False
        self._begun = False  # the answer's head is sent, its body is on its way
        self._when_taken: Callable[[], None] | None = None
        self.closed = False
        self.on_lost: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        return self._answering is None and self._request is None

    @property
    def peer(self) -> tuple[str, int] | None:
        """The client's address, of TCP."""
        address = self._transport.get_extra_info("peername") if self._transport else None
        return (address[0], address[1]) if isinstance(address, tuple) else None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._site.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._site.connections.discard(self)
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        self._tell_taken()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._tell_taken()
        self._advance()

    def data_received(self, data: bytes) -> None:
        if self._failed:
            return
        self._buffer += data
        if self._answering is None:
            self._advance()
        elif len(self._buffer) > PIPELINE_BYTES:
            self._transport.pause_reading()

    def processing(self) -> Callable[[], None] | None:
        """What sends a 102 for the request that is being answered, from any thread, before its answer. None where its
        client is too old for one, or has not taken the answer before; else there is room for so few bytes."""
        request, own = self._answering, self._transport.get_extra_info("socket")
        if request is None or not request.chunks or own is None or self._transport.get_write_buffer_size():
            return None
        number = own.fileno()
        return lambda: _send(number, _PROCESSING, len(_PROCESSING), _AT_ONCE)

    def send(self, response: Response) -> None:
        request = self._answering
        if request is None or self.closed:
            return
        keep_alive = request.keep_alive and not self._site.draining
        self._transport.write(encode(response, self._site.clock.date(), keep_alive, request.method == "HEAD"))
        self._answered(keep_alive)

    def begin(self, response: Response) -> None:
        """Sends the head of an answer whose body comes in pieces (`more`), until `end`."""
        request = self._answering
        if request is None or self.closed:
            return
        self._begun = True
        keep_alive = request.keep_alive and not self._site.draining
        self._transport.write(encode(response, self._site.clock.date(), keep_alive, head_only=True, chunked=True))

    def more(self, piece: bytes, taken: Callable[[], None]) -> None:
        """Sends one; `taken` is called once there is room for the next, or nobody to read it."""
        if self._begun and not self.closed:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._when_taken = taken
        if not self._paused or self.closed:
            self._tell_taken()

    def end(self, whole: bool) -> bool:
        """Ends an answer that has begun; without its last chunk where it is not `whole`. False: none has."""
        request = self._answering
        if not self._begun or request is None:
            return False
        self._begun = False
        if not whole:
            self._answering = None
            self.on_lost = None
            self._transport.abort()
        elif not self.closed:
            self._transport.write(b"0\r\n\r\n")
            self._answered(request.keep_alive and not self._site.draining)
        return True

    def _tell_taken(self) -> None:
        if self._when_taken is not None:
            self._when_taken()
            self._when_taken = None

    def _answered(self, keep_alive: bool) -> None:
        self._answering = None
        self.on_lost = None
        if not keep_alive:
            self._transport.close()
            return
        if self._buffer:
            self._transport.resume_reading()
            # Not from here: a chain of pipelined requests that are answered at once would grow the stack.
            self._site.loop.call_soon(self._advance)

    def close_if_idle(self) -> None:
        if self.idle:
            self._transport.close()

    def _advance(self) -> None:
        try:
            if self.closed or self._paused or self._answering is not None or not self._next():
                return
        except BadRequest as ex:
            self._fail(ex)
            return
        request, self._request = self._request, None
        self._answering = request
        if request is not None:
            self._handle(request, self)

    def _next(self) -> bool:
        """Reads on; True when `_request` is complete."""
        if self._request is None and not self._read_head():
            return False
        request = self._request
        assert request is not None
        if self._over:
            self._length -= len(self._buffer)
            self._buffer.clear()
            if self._length > 0:
                return False
            raise too_large(self._site.max_body_bytes)
        if self._chunked is not None:
            if not self._chunked.feed(self._buffer):
                return False
            request.body, self._chunked = bytes(self._chunked.data), None
            return True
        if len(self._buffer) < self._length:
            return False
        if self._length:
            request.body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
        return True

    def _read_head(self) -> bool:
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadRequest(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes.")
            return False
        request = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        length, waits = body_length(request.headers), request.headers.get("expect", "").lower() == "100-continue"
        self._over = length > self._site.max_body_bytes
        if self._over and (waits or length > PASSED_BYTES):
            raise too_large(self._site.max_body_bytes)
        self._request, self._length = request, max(length, 0)
        self._chunked = ChunkedBody(self._site.max_body_bytes) if length < 0 else None
        if waits and (length < 0 or len(self._buffer) < length):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _fail(self, ex: BadRequest) -> None:
        """Answers, then reads on for a moment: closing with unread input would reset the client before it has read."""
        response = self._refuse(ex.status, str(ex))
        self._failed = True
        self._buffer.clear()
        self._transport.write(encode(response, self._site.clock.date(), keep_alive=False, head_only=False))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._site.loop.call_later(LINGER_S, self._transport.close)


class Site:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_body_bytes: int) -> None:
        self.loop = loop
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self.clock = Clock()
        self.draining = False

    def drain(self) -> None:
        """Answers from now on close their connection; idle connections close now."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()
