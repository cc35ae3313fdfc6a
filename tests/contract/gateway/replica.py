"""A replica, or the platform's server, as the gateway sees it: HTTP/1.1 at an address, in a process that can be killed.

`python replica.py unix:PATH|HOST:PORT NAME [STATUS]`. It answers every request with what it received; `?sleep=S` first waits, `?hold=1` waits for
a request to /release, `?status=N` sets the status, else it is STATUS (but for `/`, the
health check); a 424 says that the scoring script failed. `?begin=1` says first that it works on the request (102), `?die=1` ends it without an answer.
A refusal that the gateway asks for is given as the server does. Prints "ready" once it listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


async def serve(address: str, name: str, status: str = "200") -> None:
    seen = {"count": 0}
    released = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await answer(reader, writer, name, status, seen, released):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    host, _, place = address.rpartition(":")
    if host == "unix":
        Path(place).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(talk, place)
    else:
        server = await asyncio.start_server(talk, host, int(place))
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


async def answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    name: str,
    status: str,
    seen: dict[str, int],
    released: asyncio.Event,
) -> bool:
    first = await reader.readline()
    if not first:
        return False
    method, target, _ = first.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    spelled: list[str] = []
    while (line := (await reader.readline()).decode("latin-1").rstrip("\r\n")) != "":
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
        spelled.append(key)
    size = await read_body(reader, headers)
    url = urlsplit(target)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    if url.path == "/score":
        seen["count"] += 1
    if url.path == "/release":
        released.set()
    if "begin" in query:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
    if "die" in query:
        os._exit(1)
    if "hold" in query:
        await released.wait()
    if "sleep" in query:
        await asyncio.sleep(float(query["sleep"]))
    report = {"name": name, "method": method, "target": target, "headers": headers, "size": size, "seen": seen["count"]}
    report["spelled"] = spelled
    body = json.dumps(report).encode()
    status = query.get("status", "200" if url.path == "/" else status)
    if refused := headers.get("x-smalt-refused"):
        status, body = refused, headers["x-smalt-refusal"].encode()
    failed = "x-ms-run-function-failed: True\r\n" if status == "424" else ""
    head = f"HTTP/1.1 {status} X\r\n{failed}X-Spelled-So: 1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + (b"" if method == "HEAD" else body))
    await writer.drain()
    return True


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> int:
    if headers.get("transfer-encoding") == "chunked":
        total = 0
        while size := int(await reader.readline(), 16):
            total += len(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return total
    left = total = int(headers.get("content-length", "0"))
    while left:
        chunk = await reader.read(min(left, 1 << 20))
        if not chunk:
            raise ConnectionError("the body ended early")
        left -= len(chunk)
    return total


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
