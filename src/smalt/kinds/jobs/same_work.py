"""Jobs that do not run because another one does, or did, the same work: its outputs are theirs.

One whose like runs already waits for that (`JobStatus.same_as`). If it completes, so does the one that waits; if not,
one of those that wait does the work, and the others wait for that. Both would stand in the same queue in the same way:
nobody who named free nodes waits for one that has none.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from smalt.arm.kind import OURS, Document, Step
from smalt.arm.platform import Platform
from smalt.kinds.jobs import admission, life
from smalt.kinds.jobs.model import CANCEL, REUSED, ROOT, ROUND, TERMINAL
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps.progress import BEST
from smalt.store import resources, shared_work
from smalt.store.document import part
from smalt.store.resources import Lock, Row

IS_REUSED, REUSED_FROM = "azureml.isreused", "azureml.reusedrunid"  # properties of a job, as clients read them
COMPLETED = "Finalizing"  # the state of one that has its outputs: its end comes next


def origin(row: Row) -> str:
    """The name of the job that did the work."""
    return part(row.properties, "properties").get(REUSED_FROM) or row.name


def reused(spec: Document, earlier: Row) -> Document:
    """The spec of a job that has the outputs of `earlier`."""
    properties = part(spec, "properties")
    best = {key: one for key, one in part(earlier.properties, "properties").items() if key in BEST}
    said = {**part(properties, "properties"), **best, IS_REUSED: "true", REUSED_FROM: origin(earlier)}
    return {**spec, "properties": {**properties, "properties": said}, OURS: {**part(spec, OURS), REUSED: True}}


def completed(status: JobStatus, earlier: Row, now: float) -> JobStatus:
    """Its status; `now`: seconds since the epoch."""
    places = {
        name: {key: one[key] for key in ("uri", "jobOutputType")}
        for name, one in part(earlier.status, "outputs").items()
    }
    return replace(status, same_as="", outputs=places, ending="Completed", started_at=now, ended_at=now)


def claim(
    connection: Connection, work: str, job: str, properties: Document, ours: Document, since: float
) -> Row | None:
    """The job that does the work, or completed it after `since`; None: the one with the id `job` is to do it.

    `properties`, `ours`: of that one's spec. The rounds of a loop do not share work: each is there to do it again.
    """
    key = f"{work} {_where(properties)}"
    found = shared_work.claim(connection, key, job, lambda row: _is_under_way(row) or _did(row, since))
    return found if found is None or not _is_other_round(ours, found) else None


def step(platform: Platform, row: Row) -> Step | None:
    """One pass over a job that waits for its like; None: it waits for none."""
    status = JobStatus.read(row.status)
    if not status.same_as or status.ending or row.deleting or row.state in TERMINAL or row.spec[OURS].get(CANCEL):
        return None
    status = life.tracked(platform, row, status)
    with platform.database.read() as connection:
        other = resources.get(connection, status.same_as)
    if other is not None and _is_under_way(other):
        return _wait(platform, row, status, other)
    if other is not None and _did(other, row.created_at):
        _complete(platform, row, status, other)
        return life.at(row, row.state, status, after=0)  # dropped: the row was written meanwhile
    with platform.database.write() as connection:
        holder = claim(connection, row.lookup or "", row.id, row.properties, row.spec[OURS], row.created_at)
    return life.at(row, "NotStarted", replace(status, same_as=holder.id if holder is not None else ""), after=0)


def _where(properties: Document) -> str:
    """What decides when a job has its nodes."""
    compute = admission.compute_name(str(properties.get("computeId") or "serverless"))
    size = part(part(properties, "trial") or properties, "resources").get("instanceType")
    tier, priority = admission.queued(part(properties, "queueSettings"))
    return json.dumps([compute.lower(), str(size or "").lower(), tier, priority])


def _is_under_way(row: Row) -> bool:
    return row.ended_at is None and not row.deleting


def _did(row: Row, since: float) -> bool:
    return row.state == "Completed" and not row.deleting and row.ended_at is not None and row.ended_at >= since


def _is_other_round(ours: Document, other: Row) -> bool:
    of_other = part(other.spec, OURS)
    return ours.get(ROOT) == of_other.get(ROOT) and ours.get(ROUND) != of_other.get(ROUND)


def _wait(platform: Platform, row: Row, status: JobStatus, other: Row) -> Step:
    news = {} if row.state == "Queued" else {"reason": f"waits for job {other.name}, which does the same"}
    writes = partial(resources.wait_for, key=row.id, on=[other.id], now=platform.clock())
    return life.at(row, "Queued", status, after=None, writes=writes, **news)


def _complete(platform: Platform, row: Row, status: JobStatus, other: Row) -> None:
    """Nothing happens where the row was written since: it is looked at again."""
    now = platform.clock()
    with platform.database.write() as connection:
        current = resources.get(connection, row.id, Lock.WRITE)
        if current is None or current.generation != row.generation:
            return
        new = completed(replace(status, rest=JobStatus.read(current.status).rest), other, now)
        resources.replace_spec(
            connection,
            current,
            reused(dict(current.spec), other),
            state=COMPLETED,
            now=now,
            by=row.changed_by,
            due=True,
            status=new.document(),
            reason=f"job {origin(other)} did the same",
        )
