"""`GET …/schedules/NAME/history`: what became of a schedule's times: the job of each, or why there was none."""

from __future__ import annotations

import re
from typing import Any

from smalt.arm.envelope import timestamp
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Document, Request
from smalt.kinds.jobs.schedules.definition import TIME
from smalt.store import changes, resources
from smalt.store.document import part
from smalt.store.resources import Row

SUBMITTED, REFUSED = "submitted ", "no job for "  # how the reasons in the feed begin
_NAMED = re.compile(rf"{SUBMITTED}(?P<job>\S+)|{REFUSED}(?P<time>\S+?Z): (?P<error>.*)", re.DOTALL)


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    """The newest first, at most 200 of the last 30 days, as the feed has them; `status`: null where the job is gone."""
    assert row is not None
    workspace = ResourceId.parse(row.written).workspace
    with request.platform.database.read() as connection:
        events = [(one, found) for one in changes.newest(connection, row.id) if (found := _NAMED.fullmatch(one.reason))]
        keys = {found["job"]: workspace.child("jobs", found["job"]).key for _, found in events if found["job"]}
        jobs = resources.get_many(connection, keys.values())
    shown: list[Document] = []
    for event, found in reversed(events):
        job = jobs.get(keys.get(found["job"], ""))
        shown.append(
            {
                "at": timestamp(event.at),
                "job": found["job"],
                "scheduleTime": found["time"] or (part(job.properties, "properties").get(TIME) if job else None),
                "status": job.state if job else None,
                "error": found["error"],
            }
        )
    return 200, {"value": shown}


READ = Action(_read, method="GET")
