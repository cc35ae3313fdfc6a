"""Runs that were made outside of a job, as jobs: a notebook's, or one nested in another.

MLflow's clients make them (`arm/runs.py`). To clients such a job is a command job with an empty command: they know no
type for it. There is no task; MLflow alone begins and ends it.
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.kinds.jobs import launch
from smalt.kinds.jobs.model import JobProperties, JobType
from smalt.store.resources import Row


def _admit(request: Request, connection: Connection, properties: Document) -> Admitted:
    raise AssertionError("MLflow's clients make runs; a PUT makes a job")


def _step(platform: Platform, row: Row) -> Step:
    if row.deleting:
        launch.remove_artifacts(platform, row)
        return Step(row.state, row.status, gone=True)
    return Step(row.state, row.status, done=True)


def _fail(platform: Platform, row: Row, error: Document) -> Step:
    """What could not be told to MLflow is tried again; the run is as it was."""
    return Step(row.state, row.status, after=30.0, reason=str(error["message"])[:500])


TYPE = JobType(
    name="Run",
    properties=JobProperties,
    admit=_admit,
    step=_step,
    fail=_fail,
    fixed=("jobType", "command", "codeId", "environmentId", "inputs", "computeId", "experimentName"),
)
