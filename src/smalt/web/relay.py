"""Bytes both ways between a visitor's streams and a socket: to a service's program, to a port that ssh forwards."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol

_PIECE = 64 << 10
_LINGER_S = 2.0  # for a visitor that still sends when all is said


class Reader(Protocol):
    async def read(self, n: int = -1, /) -> bytes: ...


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def write_eof(self) -> None: ...


async def relay(
    reader: Reader, writer: Writer, line: socket.socket, head: bytes = b"", half_closes: bool = False
) -> None:
    """Until the line has ended or the visitor has gone; then the line is closed. What goes wrong ends it, too.

    `head` goes before what the visitor sends. `half_closes`: the end of that is passed on, and both have to end.
    A line that takes no more is read on: its answer may come before all is sent.
    """
    loop = asyncio.get_running_loop()
    line.setblocking(False)

    async def there() -> None:
        data = head or await reader.read(_PIECE)
        while data:
            try:
                await loop.sock_sendall(line, data)
            except OSError:
                if back.done():
                    raise
            data = await reader.read(_PIECE)
        if half_closes:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_WR)

    async def answer() -> None:
        while data := await loop.sock_recv(line, _PIECE):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    back = asyncio.ensure_future(answer())
    out = asyncio.ensure_future(there())
    try:
        ends = asyncio.FIRST_EXCEPTION if half_closes else asyncio.FIRST_COMPLETED
        await asyncio.wait({out, back}, return_when=ends)
        if not half_closes and back.done():
            await asyncio.wait({out}, timeout=_LINGER_S)
    finally:
        out.cancel()
        back.cancel()
        await asyncio.gather(out, back, return_exceptions=True)
        line.close()
