"""Whose a job or a schedule is: kept in its spec's own part, because who made it may end before it does.

A job acts for whoever submitted it: what it makes is of that author, also after the job has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.kind import OURS, Document, Request
from smalt.arm.platform import Platform
from smalt.arm.ports import IN_TABLE, Principal
from smalt.auth import living
from smalt.kinds.jobs import identity
from smalt.kinds.jobs.launch import job_oid
from smalt.kinds.jobs.model import AUTHOR
from smalt.kinds.process_settings import check_isolation
from smalt.sched.growth import ray_of
from smalt.settings import TENANT
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

_JOB = "job:"  # what the names of jobs' own identities begin with


def of(request: Request, connection: Connection) -> Document:
    """What the own part of a spec has of who asks: object id, name, kind and scope."""
    one = request.principal
    if one.kind != "job":
        return {AUTHOR: identity.author(one)}
    if not one.name.startswith(_JOB):  # a parent or a schedule submits: it says itself whose the job is
        return {}
    job = resources.get(connection, request.id.workspace.child("jobs", one.name.removeprefix(_JOB)).key)
    if job is None or job_oid(job) != one.oid:
        return {}
    return {name: identity.handed_on(author) for name, author in inherited(job).items()}


def inherited(row: Row) -> Document:
    """The same for what this job or schedule makes; empty for one that an older version made."""
    author = part(part(row.spec, OURS), AUTHOR)
    return {AUTHOR: author} if author else {}


def check_trusted(ours: Document, cluster: Row | None) -> None:
    """Raises ArmError(403): what runs on a Ray node can reach Ray's own control, and with it all that runs there."""
    author = part(ours, AUTHOR)
    if ray_of(cluster) and author.get("kind") in IN_TABLE:
        raise ArmError(
            403,
            "OwnerOnly",
            "properties.computeId: the nodes of this cluster are Ray's, where only the platform's"
            f" owner may run jobs: {author.get('name')} could reach Ray itself from there. Use another compute.",
            "properties.computeId",
        )


def check(platform: Platform, connection: Connection, what: str, row: Row) -> None:
    """Raises ArmError(403): the author of this row was deleted, or may run nothing here now."""
    author: Mapping[str, Any] = part(part(row.spec, OURS), AUTHOR)
    if not author:
        return
    one = Principal(author["oid"], author["name"], author["kind"], TENANT, scope=author["scope"])
    if one.kind in IN_TABLE and not living.exists(connection, one.oid):
        raise ArmError(
            403,
            "AuthorDeleted",
            f"{one.name}, who made {what} '{row.name}', was deleted: nothing runs in that name"
            f" any more. Create {what} '{row.name}' again, as somebody who may.",
        )
    check_isolation(platform, one)
