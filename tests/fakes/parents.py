"""A job type that lives in the tests: it runs `count` children, at most `window` of them at once."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection

from smalt.arm.kind import OURS, Admitted, Document, Request
from smalt.arm.platform import Platform
from smalt.kinds.jobs import children, life
from smalt.kinds.jobs.children import AT_ONCE, Child, Counts, Plan
from smalt.kinds.jobs.model import JobProperties, JobType
from smalt.kinds.jobs.status import JobStatus
from smalt.store.resources import Row


class FanProperties(JobProperties):
    count: int
    window: int = 1000
    child: dict[str, Any]


def _admit(request: Request, connection: Connection, properties: Document) -> Admitted:
    return Admitted({**request.body, "properties": properties, OURS: {}}, state="NotStarted", due=True, status={})


def _decide(platform: Platform, row: Row, status: JobStatus, counts: Counts) -> Plan:
    count, done = row.properties["count"], status.decided.get("submitted", 0)
    now = max(0, min(AT_ONCE, count - done, row.properties.get("window", 1000) - counts.open))
    these = [Child(f"{row.name}-{number}", row.properties["child"]) for number in range(done, done + now)]
    end = "" if done + now < count else ("Failed" if counts.of("Failed") else "Completed")
    return Plan(these, more=now == AT_ONCE, decided={"submitted": done + now}, end=end)


FAN = JobType(
    name="Fan",
    properties=FanProperties,
    admit=_admit,
    step=partial(children.step, _decide),
    fail=life.give_up,
    fixed=("jobType", "count", "child"),
    run_type="azureml.PipelineRun",
)
