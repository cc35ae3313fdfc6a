"""`SUBSCRIPTION/resources` and `GROUP/resources`: what Resource Manager tracks, in one list.

https://learn.microsoft.com/rest/api/resources/resources/list
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smalt.arm.envelope import document, timestamp
from smalt.arm.errors import ArmError
from smalt.arm.ids import RESOURCES, ResourceId, Scope
from smalt.arm.kind import Document, Kind, Request
from smalt.arm.listing import Paging, collect, next_link
from smalt.arm.reach import narrowed
from smalt.store import pages
from smalt.store.resources import Row

_SHOWN = ("id", "name", "type", "kind", "location", "tags", "sku", "identity", "plan", "managedBy", "systemData")
_NAMES = ("resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue")
_TERM = re.compile(r"\(*\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*\)*", re.IGNORECASE)
_AND = re.compile(r"\s+and\s+(?=\(*\s*\w+\s+eq\s)", re.IGNORECASE)
_READ = "Microsoft.Resources/subscriptions/resources/read"


def _filters(text: str) -> dict[str, str]:
    """name → value of `$filter`, all of which must hold. Raises ArmError(400)."""
    found: dict[str, str] = {}
    for term in _AND.split(text.strip()) if text.strip() else []:
        match = _TERM.fullmatch(term.strip())
        if match is None or match[1].lower() not in _NAMES or match[1].lower() in found:
            message = (
                f"$filter: {term[:100]!r} is not read here; write NAME eq 'VALUE', joined by 'and', where NAME is"
                " resourceType, name, resourceGroup, location, tagName or tagValue."
            )
            raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter")
        found[match[1].lower()] = match[2].replace("''", "'")
    if "tagvalue" in found and "tagname" not in found:
        message = "$filter: tagValue is read together with tagName."
        raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter")
    return found


def _keeps(filters: Mapping[str, str], row: Row) -> bool:
    id_ = ResourceId.parse(row.written)
    has = {"name": row.name, "resourcegroup": id_.group, "location": str(row.spec.get("location") or "")}
    if any(name in filters and filters[name].lower() != value.lower() for name, value in has.items()):
        return False
    if "tagname" not in filters:
        return True
    tags = {name.lower(): value for name, value in (row.spec.get("tags") or {}).items()}
    name = filters["tagname"].lower()
    return name in tags and filters.get("tagvalue", tags[name]) == tags[name]


def _list(request: Request) -> tuple[int, Any]:
    filters, paging, above = _filters(request.query.get("$filter", "")), Paging.of(request.query), request.id
    wanted = filters.get("resourcetype", "").lower()
    kinds = {kind.key: kind for kind in request.kinds.values() if kind.tracked and Scope.GROUP in kind.scopes}
    asked = [key for key, kind in kinds.items() if wanted in ("", kind.qualified.lower())]
    seen = narrowed(request.platform.grants.reach(request.principal, _READ), above.key)
    with request.platform.database.read() as connection:

        def fetch(most: int, skip: str | None) -> pages.Page:
            return pages.page(
                connection, asked, "", most=most, skip=skip, archived=None, prefix=above.key + "/", seen=seen
            )

        rows, skip = collect(fetch, lambda row: _keeps(filters, row), paging)
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
