"""`{workspace}/sharedLinks/{name}`: links that show one page of the Studio to whoever has them, until they are over.

Azure has no such kind. The link's key is sealed beside the row, and goes with it: who deletes the row takes the link
back. What a guest may read is in `auth/access.py`; who comes with a key is looked up in `auth/shared_links.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.ids import ML, NotAnId, ResourceId, workspace_id
from smalt.arm.kind import Action, Admitted, Kind, Request
from smalt.arm.validation import Properties
from smalt.auth.shared_links import KEY, LINKS, over_at
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from smalt.store import resources
from smalt.store.resources import Row

DAYS_MOST = 90
RESOURCES_MOST = 500  # as many jobs as can be compared
OF_PAGE = {"job": "jobs", "jobs": "jobs", "model": "models/versions", "endpoint": "onlineEndpoints"}
_HOME = workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE).key


class SharedLinkProperties(Properties):
    display_name: Annotated[str, Field(max_length=200)] | None = None
    page: Literal["job", "jobs", "model", "endpoint"]
    resources: Annotated[list[str], Field(min_length=1, max_length=RESOURCES_MOST)]
    expires_at: str


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    given = dict(request.body["properties"])
    ids = [_shown(request, one) for one in given["resources"]]
    if old is not None:
        before = [one.lower() for one in old.properties["resources"]]
        if given["page"] != old.properties["page"] or [one.key for one in ids] != before:
            raise invalid(
                "properties.resources: a link shows what it was made for; make another.", "properties.resources"
            )
        given["resources"] = old.properties["resources"]
        if given["expiresAt"] != old.properties["expiresAt"]:
            given["expiresAt"] = _ends(given["expiresAt"], request.now)
        return Admitted({**request.body, "properties": given})
    given |= {"resources": _checked(request, connection, given["page"], ids)}
    given |= {"expiresAt": _ends(given["expiresAt"], request.now)}

    def writes(connection: Connection) -> None:
        request.platform.secrets.set(connection, request.id.key, KEY, secrets.token_urlsafe(24))

    return Admitted({**request.body, "properties": given}, writes=writes)


def _shown(request: Request, text: str) -> ResourceId:
    with suppress(NotAnId):
        found = ResourceId.parse(text)
        if found.workspace.key == request.id.workspace.key:
            return found
    raise invalid(f"properties.resources: {text[:300]!r} is no id in this workspace.", "properties.resources")


def _checked(request: Request, connection: Connection, page: str, ids: list[ResourceId]) -> list[str]:
    """The ids as they are written. Raises ArmError, also where who asks may not read one of them."""
    least = 2 if page == "jobs" else 1
    kind = f"{ML}/workspaces/{OF_PAGE[page]}"
    if not least <= len({one.key for one in ids}) == len(ids) or (least == 1 and len(ids) > 1):
        wanted = "two or more different jobs" if page == "jobs" else f"one {page}"
        raise invalid(f"properties.resources: the page {page!r} is of {wanted}.", "properties.resources")
    rows = resources.get_many(connection, (one.key for one in ids))
    for one in ids:
        row = rows.get(one.key)
        if row is None or row.deleting or row.kind != f"workspaces/{OF_PAGE[page]}".lower():
            raise invalid(f"properties.resources: there is no {kind} {one}.", "properties.resources")
        request.platform.grants.check(request.principal, f"{kind}/read", one.key)
    return [rows[one.key].written for one in ids]


def _ends(text: str, now: float) -> str:
    """As it is kept. Raises ArmError(400)."""
    try:
        at = over_at(text)
    except ValueError:
        raise invalid("properties.expiresAt: give a time as 2030-12-31T12:00:00Z.", "properties.expiresAt") from None
    if not now < at <= now + DAYS_MOST * 86_400 + 60:
        message = f"properties.expiresAt: a link ends between now and in {DAYS_MOST} days."
        raise invalid(message, "properties.expiresAt")
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _link(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    with request.platform.database.read() as connection:
        key = request.platform.secrets.of(connection, row.id)[KEY]
    page, query = address(row.properties)
    query |= {"share": f"{row.name}.{key}"}
    if request.id.workspace.key != _HOME:
        query["wsid"] = str(ResourceId.parse(row.written).workspace)
    url = f"{request.platform.settings.url}/studio{page}?{urlencode(query)}"
    return 200, {"url": url, "expiresAt": row.properties["expiresAt"]}


def address(properties: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The Studio's page below `/studio`, and its query."""
    ids = [ResourceId.parse(one) for one in properties["resources"]]
    name = quote(ids[0].name, safe="")
    match properties["page"]:
        case "jobs":
            return "/jobs/compare", {}  # the link itself says of which
        case "model":
            return f"/models/{quote(ids[0].parent.name, safe='')}/{name}", {}
        case "endpoint":
            return f"/endpoints/{name}", {}
        case _:
            return f"/jobs/{name}", {}


KIND = Kind(
    path=f"workspaces/{LINKS}",
    title="shared link",
    properties=SharedLinkProperties,
    admit=_admit,
    actions={"getLink": Action(_link, gives_secrets=True)},
)
