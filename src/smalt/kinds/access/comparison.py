"""`{workspace}/comparisons/{name}`: which jobs are compared, where their names are too long for a URL.

Azure has no such kind. The Studio makes one where many are chosen; its name is made of theirs, so there is one of each.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import conflict, invalid
from smalt.arm.kind import NAME, Admitted, Kind, Request
from smalt.arm.validation import Properties
from smalt.kinds.access.shared_link import RESOURCES_MOST
from smalt.store.resources import Row

Job = Annotated[str, Field(pattern=NAME)]


class ComparisonProperties(Properties):
    """`jobs`: their names. Whether there are such, and who may read them, is asked when they are compared."""

    jobs: Annotated[list[Job], Field(min_length=2, max_length=RESOURCES_MOST)]


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    jobs = request.body["properties"]["jobs"]
    if len({one.lower() for one in jobs}) < len(jobs):
        raise invalid("properties.jobs: one of them is named twice.", "properties.jobs")
    if old is not None and old.properties["jobs"] != jobs:
        raise conflict("A comparison is of the jobs that it was made of; choose another name.", "properties.jobs")
    return Admitted(request.body)


KIND = Kind(path="workspaces/comparisons", title="comparison", properties=ComparisonProperties, admit=_admit)
