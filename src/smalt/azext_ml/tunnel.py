"""A tunnel into a job: what ssh says goes to the server in one request, and its answer is what ssh hears.

`ssh -o ProxyCommand="python tunnel.py URL"` runs this file, with nothing beside it: standard library only, no import
of what is around it. The token is in the variable SMALT_TUNNEL_TOKEN, never on a command line; the authority to trust
in REQUESTS_CA_BUNDLE or SSL_CERT_FILE.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

TOKEN = "SMALT_TUNNEL_TOKEN"
_PIECE = 64 << 10


class TunnelError(Exception):
    """The server refuses, or is not there; one line for people."""


def run(url: str, token: str, context: ssl.SSLContext) -> None:
    """Until either side ends. Raises TunnelError."""
    try:
        asyncio.run(_run(url, token, context))
    except (OSError, asyncio.IncompleteReadError) as error:
        raise TunnelError(f"{urlsplit(url).netloc} cannot be reached: {error}") from None


async def _run(url: str, token: str, context: ssl.SSLContext) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or 443, ssl=context, server_hostname=parts.hostname
    )
    try:
        head = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Authorization: Bearer {token}",
            "Content-Type: application/octet-stream",
            "Transfer-Encoding: chunked",
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        status, chunked, length = await _head(reader)
        if status != 200 or not chunked:
            raise TunnelError(_refusal(status, await reader.readexactly(length)))
        typing = asyncio.ensure_future(_type(writer))
        async for piece in _chunks(reader):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        typing.cancel()
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, bool, int]:
    """The answer's status, whether it comes in chunks, and otherwise its length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])}
    return (
        int(lines[0].split()[1]),
        headers.get("transfer-encoding") == "chunked",
        int(headers.get("content-length", 0)),
    )


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline() or b"0").partition(b";")[0], 16):
        while size:
            piece = await reader.readexactly(min(size, _PIECE))
            size -= len(piece)
            yield piece
        await reader.readline()


async def _type(writer: asyncio.StreamWriter) -> None:
    """What comes on standard input, read by a thread: not every system can wait for it otherwise."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes](1)

    def read() -> None:
        data = b"-"
        while data:
            data = os.read(0, _PIECE)
            try:
                asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
            except BaseException:
                return  # it is over

    threading.Thread(target=read, daemon=True).start()
    while data := await queue.get():
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


def _refusal(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {status}"


def main() -> int:
    authority = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
    try:
        run(sys.argv[1], os.environ.get(TOKEN, ""), ssl.create_default_context(cafile=authority))
    except TunnelError as error:
        print(f"smalt: {error}", file=sys.stderr)
        return 255
    return 0


if __name__ == "__main__":
    sys.exit(main())
