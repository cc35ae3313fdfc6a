"""A pipeline's steps as people see them: what comes after what, the job of each, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Action, Document, Request
from smalt.kinds.jobs.model import TERMINAL
from smalt.kinds.jobs.pipelines.graph import GRAPH, Graph, Step, child_name
from smalt.kinds.jobs.pipelines.progress import CANCELED, COMPLETED, FAILED, NO, OPEN, SKIPPED, WAITING, YES, Progress
from smalt.kinds.jobs.same_work import REUSED_FROM
from smalt.kinds.jobs.status import JobStatus
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

_STATUS = {WAITING: "Waiting", OPEN: "Running", COMPLETED: "Completed", FAILED: "Failed", CANCELED: "Canceled",
           SKIPPED: "Skipped", YES: "Completed", NO: "Completed"}  # fmt: skip


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    """In an order in which they can run."""
    assert row is not None
    kept = part(row.spec, OURS).get(GRAPH)
    if kept is None:
        raise ArmError(409, "NotAPipeline", f"Job '{row.name}' is no pipeline: it has no steps.", "name")
    graph, progress = Graph.read(kept), _progress(row, Graph.read(kept))
    workspace = ResourceId.parse(row.written).workspace
    jobs = {step.name: child_name(row, step.name, _rounds(progress, step) - 1) for step in graph.steps if step.is_job}
    with request.platform.database.read() as connection:
        rows = resources.get_many(connection, [workspace.child("jobs", name).key for name in jobs.values()])
    found = {row.name: row for row in rows.values()}
    if row.state in TERMINAL:  # what has not begun never will
        progress.letters = [SKIPPED if letter == WAITING else letter for letter in progress.letters]
    return 200, {"value": [_step(graph, step, progress, jobs.get(step.name), found) for step in graph.steps]}


def _progress(row: Row, graph: Graph) -> Progress:
    decided = JobStatus.read(row.status).decided
    return Progress.read(decided if decided.get("letters") else {}, graph)


def _rounds(progress: Progress, step: Step) -> int:
    """How many were submitted of a loop's body; of others it is the one."""
    return max(1, int(part(progress.rounds, step.loop).get("next") or 1)) if step.loop else 1


def _step(graph: Graph, step: Step, progress: Progress, job: str | None, rows: Mapping[str, Row]) -> Document:
    row, letter = rows.get(job or ""), progress.letters[graph.at[step.name]]
    status = JobStatus.read(row.status) if row else JobStatus()
    return {
        "name": step.name,
        "displayName": step.display or step.name,
        "type": step.type,
        "component": step.component or None,
        "after": list(step.after),
        "when": list(step.when) if step.when else None,
        "loop": step.loop or None,
        "rounds": _rounds(progress, step) if step.loop else None,
        "job": job,
        "submitted": row is not None,
        "status": row.state if row else _STATUS[letter],
        "answer": {YES: True, NO: False}.get(letter),
        "startTime": timestamp(status.started_at) if status.started_at else None,
        "endTime": timestamp(status.ended_at) if status.ended_at else None,
        "reusedFrom": part(row.properties, "properties").get(REUSED_FROM) if row else None,
        "error": (status.error or {}).get("message") or status.held.get("why"),
    }


READ = Action(_read, method="GET")
