"""The unix socket on which the server listens: for this platform's own user only, and for Envoy before all others.

Envoy says from where a request came, in a header. Another process of the user could say so, too;
from that one it is not taken.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from smalt.blob.protocol.http import BlobProtocol
from smalt.blob.protocol.message import ADDRESS_HEADER, PROTOCOL_HEADER
from smalt.gateway.listener import PROCESSING
from smalt.unix_socket import listen

BACKLOG = 2048
_SAID_BY_THE_GATEWAY = frozenset({ADDRESS_HEADER.encode(), PROTOCOL_HEADER.encode()})


class EndingServer(uvicorn.Server):
    """Says first that it ends, so that answers that go on, or are held, end themselves."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def serve_beside(app: ASGIApp, path: Path, stopped: threading.Event) -> None:
    """Another app on a socket of its own, in this thread, until `stopped`."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)

    def end() -> None:
        stopped.wait()
        server.should_exit = True

    threading.Thread(target=end, name=f"end of {path.stem}", daemon=True).start()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve([listen(path, BACKLOG)]))


class PeerProtocol(BlobProtocol):
    """HTTP with a look at who is at the other end.

    The scope's extension `smalt.processing` is what says, before the answer, that the request is worked on: Envoy
    repeats it no more.
    """

    _from_gateway = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is None or peer.family != socket.AF_UNIX:
            return
        pid, uid = _credentials(peer)
        self._from_gateway = is_sibling(pid)
        if uid not in (0, os.geteuid()):
            transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {PROCESSING: self._processing}  # type: ignore[dict-item]

    def _processing(self) -> None:
        self.transport.write(b"HTTP/1.1 102 Processing\r\n\r\n")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._from_gateway or name.lower() not in _SAID_BY_THE_GATEWAY:
            super().on_header(name, value)


def _credentials(peer: Any) -> tuple[int, int]:
    """Process and user at the other end, as the kernel knows them."""
    pid, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return pid, uid


def is_sibling(pid: int) -> bool:
    """Whether the process was started by who started us: the supervisor's programs are Envoy, MLflow and the server."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return int(stat[stat.rindex(b")") + 2 :].split()[1]) == os.getppid()
