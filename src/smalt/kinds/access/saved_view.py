"""`{workspace}/savedViews/{name}`: what a list of the Studio shows, under a name, for one person or for all.

Azure has no such kind. A view that is not shared is there for who made it alone, whatever rights others have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.errors import conflict, invalid
from smalt.arm.kind import OURS, Admitted, Kind, Request
from smalt.arm.ports import Principal
from smalt.arm.validation import Properties
from smalt.store.resources import Row

_OWNER = "owner"


class SavedViewProperties(Properties):
    display_name: Annotated[str, Field(min_length=1, max_length=80)]
    page: Literal["jobs"]
    query: Annotated[str, Field(max_length=4000)]
    shared: bool = False


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if old is not None and not _sees(request.principal, old):
        raise conflict(f"The name '{request.id.name}' is taken by a view of somebody else; choose another.", "name")
    properties: dict[str, Any] = {"shared": False, **request.body["properties"]}
    name, query = properties["displayName"].strip(), properties["query"]
    if not name:
        raise invalid("properties.displayName: give the view a name.", "properties.displayName")
    if not query.isprintable() or "#" in query:
        raise invalid("properties.query: give what stands behind the ? of the list's URL.", "properties.query")
    owner = old.spec[OURS][_OWNER] if old is not None else request.principal.oid
    kept = {**properties, "displayName": name, "query": query.removeprefix("?")}
    return Admitted({**request.body, "properties": kept, OURS: {_OWNER: owner}})


def _sees(principal: Principal, row: Row) -> bool:
    return bool(row.properties.get("shared")) or row.spec[OURS][_OWNER] == principal.oid


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    if not _sees(request.principal, row):
        raise conflict(f"The view '{row.name}' is somebody else's.", "name")


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    return query.get("page", row.properties["page"]) == row.properties["page"]


KIND = Kind(
    path="workspaces/savedViews",
    title="saved view",
    properties=SavedViewProperties,
    admit=_admit,
    sees=_sees,
    list_filter=_filter,
    check_delete=_check_delete,
)
