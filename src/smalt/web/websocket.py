"""The server's end of a WebSocket on a pair of streams, as RFC 6455 has it, without extensions: for a few terminals."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MOST = 1 << 20  # bytes of a message
NORMAL, GOING_AWAY, PROTOCOL, UNSUPPORTED, TOO_BIG = 1000, 1001, 1002, 1003, 1009
_REASON_MOST = 123  # bytes: a control frame holds 125


class Broken(Exception):
    """What came is no WebSocket's; `code` says so to the other end."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Frame(NamedTuple):
    last: bool
    kind: int
    body: bytes


def accepted(headers: Mapping[str, str]) -> bytes | None:
    """The head that answers a request to upgrade (its headers, in lower case); None where it is none of ours."""
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or headers.get("sec-websocket-version") != "13" or not key:
        return None
    proof = base64.b64encode(hashlib.sha1(f"{key}{_MAGIC}".encode(), usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {proof}", "", ""]).encode()


class WebSocket:
    """After the upgrade. `heard_at`: when the other end was heard of last, by the loop's clock; pongs count."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.heard_at = asyncio.get_running_loop().time()

    async def receive(self) -> bytes | None:
        """The next message; None once the other end closes. Raises Broken, OSError."""
        said, begun = b"", False
        while True:
            frame = await self._frame()
            if frame is None or frame.kind == _CLOSE:
                return None
            if frame.kind == _PING:
                await self._send(_PONG, frame.body)
            elif frame.kind in (_TEXT, _BINARY, _CONTINUED):
                if begun != (frame.kind == _CONTINUED):
                    raise Broken(PROTOCOL)
                said, begun = said + frame.body, True
                if len(said) > MOST:
                    raise Broken(TOO_BIG)
                if frame.last:
                    return said
            elif frame.kind != _PONG:
                raise Broken(PROTOCOL)

    async def send(self, message: bytes) -> None:
        """Raises OSError."""
        await self._send(_BINARY, message)

    async def ping(self) -> None:
        """Raises OSError."""
        await self._send(_PING, b"")

    async def close(self, code: int, reason: str = "") -> None:
        """Raises OSError."""
        said = reason.encode()[:_REASON_MOST].decode(errors="ignore").encode()
        await self._send(_CLOSE, code.to_bytes(2, "big") + said)

    async def _frame(self) -> _Frame | None:
        try:
            first, second = await self._reader.readexactly(2)
            if first & 0x70 or not second & 0x80:  # no extensions were agreed on, and clients mask what they send
                raise Broken(PROTOCOL)
            length = second & 0x7F
            if first & 0x8 and (length > 125 or not first & 0x80):
                raise Broken(PROTOCOL)
            if length >= 126:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            if length > MOST:
                raise Broken(TOO_BIG)
            mask = await self._reader.readexactly(4)
            body = _unmasked(await self._reader.readexactly(length), mask)
        except asyncio.IncompleteReadError:
            return None
        self.heard_at = asyncio.get_running_loop().time()
        return _Frame(bool(first & 0x80), first & 0xF, body)

    async def _send(self, kind: int, body: bytes) -> None:
        size = len(body)
        if size < 126:
            head = bytes((0x80 | kind, size))
        elif size < 1 << 16:
            head = bytes((0x80 | kind, 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, 127)) + size.to_bytes(8, "big")
        self._writer.write(head + body)
        await self._writer.drain()


def _unmasked(body: bytes, mask: bytes) -> bytes:
    long = (mask * (len(body) // 4 + 1))[: len(body)]
    return (int.from_bytes(body, "big") ^ int.from_bytes(long, "big")).to_bytes(len(body), "big")
