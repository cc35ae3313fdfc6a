"""Whether anybody works on an instance: its kernels, terminals and jobs, asked of JupyterLab once a pause is over.

An open page alone is no work, as on Azure: it asks its server all the time by itself.
"""

from __future__ import annotations

import http.client
import json
from datetime import datetime
from typing import Any

from smalt.arm import instances
from smalt.arm.errors import ArmError
from smalt.arm.platform import Platform
from smalt.sched import placement
from smalt.store.document import part
from smalt.store.resources import Row

_WAIT_S = 5.0
_ANSWER_MOST = 4 << 20


def last_work(platform: Platform, row: Row, now: float) -> float:
    """When somebody worked there last (s since the epoch): `now` where one does, or where that cannot be said."""
    with platform.database.read() as connection:
        busy, _ = placement.counts(connection, row.id)
        token = platform.secrets.of(connection, row.id).get(instances.TOKEN, "")
    if busy:
        return now
    try:
        kernels, terminals = (_ask(platform, row, token, what) for what in ("kernels", "terminals"))
        if any(one.get("execution_state") == "busy" for one in kernels):
            return now
        return max((_seconds(one["last_activity"]) for one in [*kernels, *terminals]), default=0.0)
    except (ArmError, OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return now


def _ask(platform: Platform, row: Row, token: str, what: str) -> list[dict[str, Any]]:
    line = platform.engine.reach(str(row.status["task"]), int(part(row.status, "ports")[instances.LAB]))
    with line:
        line.settimeout(_WAIT_S)
        head = f"GET /api/{what} HTTP/1.0\r\nHost: localhost\r\nAuthorization: token {token}\r\n\r\n"
        line.sendall(head.encode())
        answer = http.client.HTTPResponse(line)
        answer.begin()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(answer.status)
        return list(json.loads(answer.read(_ANSWER_MOST)))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
