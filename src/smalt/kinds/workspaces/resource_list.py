"""`SUBSCRIPTION/resources` and `GROUP/resources`: what Resource Manager tracks, in one list.

https://learn.microsoft.com/rest/api/resources/resources/list
"""

from __future__ import annotations

from typing import Any

from smalt.arm.envelope import document, timestamp
from smalt.arm.ids import RESOURCES, Scope
from smalt.arm.kind import Document, Kind, Request
from smalt.arm.listing import Paging, collect, next_link
from smalt.arm.reach import narrowed
from smalt.kinds.workspaces import filters
from smalt.store import pages
from smalt.store.resources import Row

_SHOWN = ("id", "name", "type", "kind", "location", "tags", "sku", "identity", "plan", "managedBy", "systemData")
_READ = "Microsoft.Resources/subscriptions/resources/read"


def _list(request: Request) -> tuple[int, Any]:
    terms = filters.read(request.query, ("resourceType", "name", "resourceGroup", "location", *filters.TAGS))
    paging, above = Paging.of(request.query), request.id
    wanted = terms.get("resourcetype", "").lower()
    kinds = {kind.key: kind for kind in request.kinds.values() if kind.tracked and Scope.GROUP in kind.scopes}
    asked = [key for key, kind in kinds.items() if wanted in ("", kind.qualified.lower())]
    seen = narrowed(request.platform.grants.reach(request.principal, _READ), above.key)
    with request.platform.database.read() as connection:

        def fetch(most: int, skip: str | None) -> pages.Page:
            return pages.page(
                connection, asked, "", most=most, skip=skip, archived=None, prefix=above.key + "/", seen=seen
            )

        rows, skip = collect(fetch, lambda row: filters.keeps(terms, row), paging)
    expand = {one.strip().lower() for one in request.query.get("$expand", "").split(",")}
    body: Document = {"value": [_shown(request, kinds[row.kind], row, expand) for row in rows]}
    url = f"{request.platform.settings.url}{above}/resources"
    if skip and (link := next_link(url, request.query, skip, paging, len(rows))):
        body["nextLink"] = link
    return 200, body


def _shown(request: Request, kind: Kind, row: Row, expand: set[str]) -> Document:
    whole = document(request.platform, kind, row)
    more = {
        "createdTime": timestamp(row.created_at),
        "changedTime": timestamp(row.changed_at),
        "provisioningState": whole["properties"].get("provisioningState"),
    }
    kept = {name: whole[name] for name in _SHOWN if whole.get(name) is not None}
    return kept | {name: value for name, value in more.items() if name.lower() in expand}


KIND = Kind(
    path="resources",
    title="list of resources",
    provider=RESOURCES,
    scopes=frozenset({Scope.SUBSCRIPTION, Scope.GROUP}),
    verbs={"LIST": _list},
    narrows=True,
)
