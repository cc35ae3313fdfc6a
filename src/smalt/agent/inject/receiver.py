"""Where scripts send what they collect: the contract of the package azureml-ai-monitoring.

It posts each payload to http://AZUREML_MDC_HOST:AZUREML_MDC_PORT/modeldata/log, its attributes in headers `ce-*`, and
reads from the file AZUREML_MDC_CONFIG_PATH which collections there are. An answer of 2xx means that the line is
written. The port is one of loopback's, so whoever connects as another user of the machine is refused, unheard.

The package sends one payload at a time, through a connection of its own each, and drops what does not fit into its
queue of 1,500. In the process that receives there is a shorter way: `shorten` gives its sender the function behind the
route, so that a payload costs microseconds instead of a millisecond.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping

from .collected import HTTP_WAIT_S, WAIT_S, Collected
from .collecting import AS_SENT, JSON, ONE_LINE
from .http1 import Connection, Request, Response, Site, encode
from .outcome import error

PATH = "/modeldata/log"
HOST = "127.0.0.1"
PREFIX = "azureml.inference."
PACKAGE = "azureml.ai.monitoring"
MOST_BODY_BYTES = 100 * 1024 * 1024
_CALLERS = 128  # at once; the package makes one
_SOCKETS = Path("/proc/net/tcp")


class Receiver:
    def __init__(self, collected: Collected, loop: asyncio.AbstractEventLoop, logger: logging.Logger) -> None:
        self._collected = collected
        self._loop = loop
        self._logger = logger
        self._site = Site(loop, MOST_BODY_BYTES)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.bind((HOST, 0))
        self.socket.listen(128)
        self.socket.setblocking(False)

    def variables(self) -> dict[str, str]:
        """What the package reads; also makes the file that it reads."""
        rates = self._collected.custom()
        collections = {name: {"enabled": True, "sampleRatePercentage": 100 * rate} for name, rate in rates.items()}
        with tempfile.NamedTemporaryFile("w", prefix="collector-", suffix=".json", delete=False) as file:
            json.dump({"runMode": "cloud", "collections": collections}, file)
        port = str(self.socket.getsockname()[1])
        return {"AZUREML_MDC_CONFIG_PATH": file.name, "AZUREML_MDC_HOST": HOST, "AZUREML_MDC_PORT": port}

    def connection(self) -> Connection:
        return _Caller(self.handle, _refuse, self._site)

    def handle(self, request: Request, connection: Connection) -> None:
        """Exactly one answer, once it is written."""
        if request.path != PATH:
            connection.send(_refuse(404, f"Data is sent to {PATH}."))
        elif request.method != "POST":
            connection.send(_refuse(405, "Method not allowed"))
        else:
            self._receive(request, connection)

    def _receive(self, request: Request, connection: Connection) -> None:
        name = _collection(request.headers)
        if not self._collected.rate(name):
            connection.send(_refuse(400, f"This deployment has no collection '{name}'."))
            return

        def done(written: bool) -> None:
            answer = Response(200, b"", []) if written else _refuse(500, "The data could not be written; see the log.")
            self._loop.call_soon_threadsafe(connection.send, answer)

        if not self._add(name, request.headers, request.body, False, done):
            connection.send(_refuse(503, "Too much data waits to be written."))

    def shorten(self) -> None:
        """Where the script has loaded the package: its sender hands over without a request."""
        module: Any = sys.modules.get(PACKAGE + ".worker.sender")
        sender: Any = getattr(module, "MdcSender", None)
        by_http: Any = getattr(sender, "_post_request", None)
        if not callable(by_http):
            return
        here = os.getpid()

        def post(_sender: Any, url: str, payload: str | bytes, headers: Mapping[str, str]) -> tuple[int, str]:
            if os.getpid() != here:  # a child of the script's has no thread that writes
                answer: Any = by_http(_sender, url, payload, headers)
                return answer
            named = {name.lower(): value for name, value in headers.items()}
            content = payload.encode() if isinstance(payload, str) else payload
            if not self._collected.rate(_collection(named)):
                return 400, "no such collection"
            return (200, "") if self._add(_collection(named), named, content, True, None) else (503, "lost")

        sender._post_request = post

    def finish(self) -> None:
        """What the package still has in its queue is sent; from now on it takes nothing more."""
        module: Any = sys.modules.get(PACKAGE + ".worker")
        end = getattr(module, "teardown_worker", None)
        if callable(end):
            try:
                end(True)
            except Exception as ex:
                self._logger.error("collected data may be lost: %s", ex)

    def _add(self, name: str, headers: Mapping[str, str], content: bytes, own: bool, done: Any) -> bool:
        media = headers.get("content-type", "")
        more = {
            key: headers[header]
            for key, header in (
                ("modelversion", "ce-model-version"),
                ("collectdatatype", "ce-collect-data-type"),
                ("agent", "ce-agent"),
            )
            if header in headers
        }
        what = ONE_LINE if own and media == JSON and b"\n" not in content else AS_SENT
        correlation, at = headers.get("ce-x-request-id", ""), _time(headers.get("ce-time", ""))
        item = (name, what, content, media, correlation, at, more)
        return self._collected.add([item], WAIT_S if own else HTTP_WAIT_S, done)


class _Caller(Connection):
    """Nothing is read before it is known whose it is; a stranger's place is free again at once."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self._site.connections) > _CALLERS:
            transport.abort()
            return
        transport.pause_reading()
        local = transport.get_extra_info("sockname")
        self._site.loop.run_in_executor(None, self._check, self.peer, local)

    def _check(self, peer: tuple[str, int] | None, local: tuple[str, int]) -> None:
        """In a thread of its own: the list of all sockets is long where there are many."""
        self._site.loop.call_soon_threadsafe(self._begin if _is_ours(peer, local) else self._turn_away)

    def _begin(self) -> None:
        if not self.closed:
            self._transport.resume_reading()

    def _turn_away(self) -> None:
        answer = _refuse(403, "This is the data collector of another user's deployment.")
        self._transport.write(encode(answer, self._site.clock.date(), keep_alive=False, head_only=False))
        self._transport.close()


def _refuse(status: int, message: str) -> Response:
    outcome = error(status, message)
    return Response(status, outcome.body, outcome.headers)


def _collection(headers: Mapping[str, str]) -> str:
    kind = headers.get("ce-type", "")
    return (kind[len(PREFIX) :] if kind.startswith(PREFIX) else kind).lower()


def _time(text: str) -> float:
    """Seconds since the epoch."""
    try:
        at = float(text)
        time.gmtime(at)
        return at
    except (ValueError, OverflowError, OSError):
        return time.time()


def _is_ours(peer: tuple[str, int] | None, here: tuple[str, int]) -> bool:
    """Whether the other end of a connection on loopback is a socket of the user that this process runs as."""
    if peer is None:
        return False
    ends = [_end(peer), _end(here)]
    try:
        with _SOCKETS.open(encoding="ascii") as file:
            for line in file:
                parts = line.split()
                if parts[1:3] == ends:
                    return parts[7] == str(os.getuid())
    except OSError:
        return True  # no such file: a system that has no other users' processes to show
    return False


def _end(address: tuple[str, int]) -> str:
    """As the kernel shows it: the four bytes as a number of this machine."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
