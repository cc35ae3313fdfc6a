"""`WORKSPACE/failures`: the newest jobs that failed, those of one cause together.

Azure has no such route; the Studio's first page shows it. Jobs of one cause have error messages that are alike but for
numbers, names of files and of jobs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.ids import ML
from smalt.arm.kind import Document, Kind, Request
from smalt.arm.reach import narrowed
from smalt.arm.runs import JOBS
from smalt.kinds.jobs.status import JobStatus
from smalt.store import pages
from smalt.store.resources import Row

PATH = "workspaces/failures"
LOOKED_MOST = 500  # of the newest that failed
NAMED_MOST = 500  # jobs of one cause
_CAUSE_MOST = 300  # characters
_VARIES = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "…"),
    (re.compile(r"(?:/[^\s/'\":,]+){2,}"), "…"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)?", re.IGNORECASE), "#"),
)


@dataclass
class _Cause:
    message: str
    code: str
    newest: Row
    jobs: list[str] = field(default_factory=list[str])


def _list(request: Request) -> tuple[int, Any]:
    """`?since=` (a time): only those that failed after it."""
    above, since = request.id.holder, _since(request)
    grants = narrowed(request.platform.grants.reach(request.principal, f"{ML}/{JOBS}/read"), above.key, JOBS)
    with request.platform.database.read() as connection:
        page = pages.page(connection, JOBS, above.key, most=LOOKED_MOST, seen=grants, states=("Failed",))
    causes: dict[str, _Cause] = {}
    for row in page.rows:
        if (row.ended_at or row.changed_at) <= since:
            continue
        error = JobStatus.read(row.status).error or {}
        message = str(error.get("message") or "No reason is known.")
        cause = causes.setdefault(alike(message, row.name), _Cause(message, str(error.get("code") or ""), row))
        if len(cause.jobs) < NAMED_MOST:
            cause.jobs.append(row.name)
    found = sorted(causes.items(), key=lambda one: -len(one[1].jobs))
    return 200, {"value": [_shown(key, one) for key, one in found], "more": page.skip is not None}


def alike(message: str, job: str) -> str:
    """What messages of one cause have in common. Of a log's end it is the last line that says why."""
    lines = [line.strip() for line in message.replace(job, "…").splitlines() if line.strip()]
    text = f"{lines[0][:100]} {lines[-1]}" if len(lines) > 1 else lines[0] if lines else ""
    for pattern, stands in _VARIES:
        text = pattern.sub(stands, text)
    return text[:_CAUSE_MOST]


def _shown(key: str, cause: _Cause) -> Document:
    lines = [line.strip() for line in cause.message.splitlines() if line.strip()]
    ended = cause.newest.ended_at or cause.newest.changed_at
    return {
        "cause": key,
        "message": lines[-1][:1000] if lines else cause.message,
        "code": cause.code,
        "newest": cause.newest.name,
        "newestTime": timestamp(ended),
        "count": len(cause.jobs),
        "jobs": cause.jobs,
    }


def _since(request: Request) -> float:
    given = request.query.get("since")
    if not given:
        return 0.0
    try:
        return datetime.fromisoformat(given).timestamp()
    except ValueError:
        raise invalid(f"since: {given[:60]!r} is no time such as 2026-06-01T10:00:00Z.", "since") from None


KIND = Kind(path=PATH, title="failure", verbs={"LIST": _list}, narrows=True)
