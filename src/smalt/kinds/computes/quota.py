"""Quotas: how many processors of a family of sizes the jobs of a workspace may have at once (`locations/…/quotas`).

Azure's names for a family are taken in all their spellings: `standardDSv2Family`, `Standard DSv2 Family vCPUs`,
`Standard_DSv2_Family_Cluster_Dedicated_vCPUs`.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ML, NotAnId, ResourceId
from smalt.arm.kind import Document, Request
from smalt.arm.validation import nearest
from smalt.sched import quotas
from smalt.sched.sizes import SIZES
from smalt.settings import REGION
from smalt.store import resources
from smalt.store.resources import Row

_TYPE = f"{ML}/workspaces/quotas"
_NO_LIMIT = -1
_MOST = 1_000_000
_AT_ONCE = 100
_SUFFIX = re.compile(r"(cluster)?(dedicated)?(vcpus)?$")


def _plain(name: str) -> str:
    return _SUFFIX.sub("", re.sub(r"[^a-z0-9]", "", name.lower()))


_FAMILIES = {_plain(size.family): size.family for size in SIZES.values()}


def family_of(name: str) -> str | None:
    """As the sizes spell it; None: no size is of it."""
    return _FAMILIES.get(_plain(name))


def read(request: Request, _: Row | None) -> tuple[int, Any]:
    """All quotas of the workspaces in the subscription, or in the resource group, that is asked."""
    with request.platform.database.read() as connection:
        found = quotas.all_(connection)
        names = resources.get_many(connection, sorted({workspace for workspace, _, _ in found}))
    ours = _within(request)
    return 200, {
        "value": [
            {
                **_quota(names[workspace], family, cores),
                "amlWorkspaceLocation": REGION,
                "name": {"value": family, "localizedValue": family},
            }
            for workspace, family, cores in found
            if workspace in names and workspace.startswith(ours)
        ]
    }


def update(request: Request, _: Row | None) -> tuple[int, Any]:
    """All of them, or none: what is wrong is an error that names its place."""
    given = request.body.get("value")
    if not isinstance(given, list) or not given or len(given) > _AT_ONCE:
        raise invalid(f"value: a list of 1 to {_AT_ONCE} quotas is needed, each with `id` and `limit`.", "value")
    with request.platform.database.write() as connection:
        changed = [_read(request, connection, f"value[{at}]", one) for at, one in enumerate(given)]
        for row, family, limit in changed:
            quotas.set_(connection, row.id, family, None if limit == _NO_LIMIT else limit, request.now)
    for row in {row.id: row for row, _, _ in changed}.values():
        request.platform.hub.notify(row.id)
    return 200, {"value": [{**_quota(*one), "status": "Success"} for one in changed]}


def _read(request: Request, connection: Connection, at: str, given: Any) -> tuple[Row, str, int]:
    if not isinstance(given, dict):
        raise invalid(f"{at}: this must be an object with `id` and `limit`.", at)
    asked: Document = given
    limit = asked.get("limit")
    if not isinstance(limit, int) or isinstance(limit, bool) or not _NO_LIMIT <= limit <= _MOST:
        raise invalid(f"{at}.limit: a whole number of processors is needed, or -1 for no limit.", f"{at}.limit")
    try:
        id_ = ResourceId.parse(str(asked.get("id") or ""))
        if id_.kind != "workspaces/quotas" or not id_.workspace.key.startswith(_within(request)):
            raise NotAnId
    except NotAnId:
        raise invalid(
            f"{at}.id: a quota of a workspace in {_within(request)} has the id …/workspaces/NAME/quotas/FAMILY.",
            f"{at}.id",
        ) from None
    family = family_of(id_.name)
    if family is None:
        hint = nearest(id_.name, sorted(_FAMILIES.values()))
        raise invalid(f"{at}.id: '{id_.name}' is no family of sizes.{hint}", f"{at}.id")
    row = resources.get(connection, id_.workspace.key)
    if row is None or row.deleting:
        raise ArmError(404, "ResourceNotFound", f"{at}.id: there is no workspace '{id_.workspace.name}'.", f"{at}.id")
    return row, family, limit


def _within(request: Request) -> str:
    """What the ids begin with of all that the caller asked, and was let, below."""
    return f"{ResourceId(request.id.subscription, request.id.group).key}/"


def _quota(workspace: Row, family: str, limit: int) -> Document:
    return {"id": f"{workspace.written}/quotas/{family}", "type": _TYPE, "limit": limit, "unit": "Count"}
