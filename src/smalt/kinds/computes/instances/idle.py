"""Whether anybody works on an instance: its kernels, terminals and jobs, asked of JupyterLab once a pause is over.

An open page alone is no work, as on Azure: it asks its server all the time by itself.
"""

from __future__ import annotations

import json
import socket
from datetime import datetime
from time import monotonic
from typing import Any

from smalt.arm import instances
from smalt.arm.errors import ArmError
from smalt.arm.platform import Platform
from smalt.sched import placement
from smalt.store.document import part
from smalt.store.resources import Row

_WAIT_S = 3.0  # for both answers: a step waits, and other computes' steps behind it
_ANSWER_MOST = 256 << 10


def last_work(platform: Platform, row: Row, now: float) -> float:
    """When somebody worked there last (s since the epoch): `now` where one does, or where that cannot be said."""
    with platform.database.read() as connection:
        busy, _ = placement.counts(connection, row.id)
        token = platform.secrets.of(connection, row.id).get(instances.TOKEN, "")
    if busy:
        return now
    try:
        over = monotonic() + _WAIT_S
        kernels, terminals = (_ask(platform, row, token, what, over) for what in ("kernels", "terminals"))
        if any(one.get("execution_state") == "busy" for one in kernels):
            return now
        return min(max((_seconds(one["last_activity"]) for one in [*kernels, *terminals]), default=0.0), now)
    except (ArmError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return now


def _ask(platform: Platform, row: Row, token: str, what: str, over: float) -> list[dict[str, Any]]:
    """`over`: when there must be an answer (monotonic), as the owner's own programs may be what gives it."""
    with platform.engine.reach(str(row.status["task"]), int(part(row.status, "ports")[instances.LAB])) as line:
        head = f"GET /api/{what} HTTP/1.0\r\nHost: localhost\r\nAuthorization: token {token}\r\n\r\n"
        _wait(line, over)
        line.sendall(head.encode())
        said = bytearray()
        while came := _received(line, over):
            said += came
            if len(said) > _ANSWER_MOST:
                raise ValueError(len(said))
    head, _, body = bytes(said).partition(b"\r\n\r\n")
    if head.split(maxsplit=2)[1] != b"200":
        raise ValueError(head[:80])
    return list(json.loads(body))


def _received(line: socket.socket, over: float) -> bytes:
    _wait(line, over)
    return line.recv(65536)


def _wait(line: socket.socket, over: float) -> None:
    """Raises TimeoutError."""
    if (left := over - monotonic()) <= 0:
        raise TimeoutError
    line.settimeout(left)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
