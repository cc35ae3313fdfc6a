"""The job of one time, submitted in the transaction in which the schedule notes that: one, whatever is killed."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.errors import conflict
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.kinds.jobs import authors, launch, submission
from smalt.kinds.jobs.schedules import actions
from smalt.kinds.jobs.schedules.definition import SCHEDULE, Occasion
from smalt.settings import TENANT
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row


def submit(platform: Platform, connection: Connection, schedule: Row, occasion: Occasion) -> None:
    """Nothing happens where this schedule has submitted it already: its clock was set back.

    Raises ArmError: what is wrong with the job or the schedule's author now, or that there is another one of its name.
    """
    id_, identity = ResourceId.parse(schedule.written), launch.job_oid(schedule)
    job = id_.workspace.child("jobs", occasion.name)
    there = resources.get(connection, job.key)
    if there is not None and part(there.spec, OURS).get(SCHEDULE) == identity:
        return
    if there is not None:
        message = f"Job '{occasion.name}', which schedule '{schedule.name}' would submit, is another job already."
        raise conflict(message, "name")
    authors.check(platform, connection, "schedule", schedule)
    principal = Principal(identity, schedule.changed_by, "job", TENANT, scope=id_.workspace.key)
    request = Request(platform, id_, principal, platform.clock())
    taken = actions.taken(request, connection, part(schedule.properties, "action"), schedule.name, occasion)
    ours, by = {**taken.ours, **authors.inherited(schedule), SCHEDULE: identity}, schedule.changed_by
    submission.insert(connection, job, taken.admitted, ours, lookup=taken.lookup, by=by, now=request.now)
