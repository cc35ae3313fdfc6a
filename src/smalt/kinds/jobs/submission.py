"""A job that another resource submits (a schedule, an endpoint), in the transaction in which that decides it."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document
from smalt.arm.runs import JOBS
from smalt.store import resources
from smalt.store.resources import New


def insert(
    connection: Connection, job: ResourceId, admitted: Admitted, ours: Document, *, lookup: str, by: str, now: float
) -> None:
    """`ours`: what its spec's own part has besides; `lookup`: by which it is found again. Raises Exists."""
    spec = {**admitted.spec, OURS: {**admitted.spec[OURS], **ours}}
    new = New(
        job.key,
        str(job),
        JOBS,
        job.workspace.key,
        job.name,
        spec,
        admitted.status or {},
        admitted.state,
        by,
        due_at=now,
        lookup=lookup,
    )
    resources.insert_all(connection, [new], now)
    if admitted.writes is not None:
        admitted.writes(connection)
