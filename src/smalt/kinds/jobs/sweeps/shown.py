"""A sweep's trials as people see them: their values, how each stands, which is the best, which a policy ended early."""

from __future__ import annotations

from typing import Any

from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Action, Document, Request
from smalt.arm.runs import PARAMETERS
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps import trials
from smalt.kinds.jobs.sweeps.progress import Progress
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

SHOWN_MOST = 1000  # the last of them


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    """In the order in which they were submitted."""
    assert row is not None
    if row.properties.get("jobType") != "Sweep":
        raise ArmError(409, "NotASweep", f"Job '{row.name}' is no sweep: it has no trials.", "name")
    known, workspace = Progress.read(JobStatus.read(row.status).decided), ResourceId.parse(row.written).workspace
    numbers = range(max(0, known.submitted - SHOWN_MOST), known.submitted)
    keys = {number: workspace.child("jobs", trials.name_of(row.name, number)).key for number in numbers}
    with request.platform.database.read() as connection:
        rows = resources.get_many(connection, keys.values())
    found = [_trial(number, rows[key], number in known.early) for number, key in keys.items() if key in rows]
    return 200, {
        "objective": part(row.properties, "objective"),
        "submitted": known.submitted,
        "best": trials.name_of(row.name, known.best.number) if known.best else None,
        "value": found,
    }


def _trial(number: int, row: Row, early: bool) -> Document:
    status = JobStatus.read(row.status)
    return {
        "number": number,
        "name": row.name,
        "status": row.state,
        "parameters": part(part(row.spec, OURS), PARAMETERS),
        "endedEarly": early,
        "startTime": timestamp(status.started_at) if status.started_at else None,
        "endTime": timestamp(status.ended_at) if status.ended_at else None,
        "error": (status.error or {}).get("message") or status.held.get("why"),
    }


READ = Action(_read, method="GET")
