"""One page of a collection: the rows of a kind below a resource, of those that its reader may see."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm import inherited
from smalt.arm.above import check_exists
from smalt.arm.envelope import document
from smalt.arm.ids import ResourceId, Scope
from smalt.arm.kind import Kind, Request
from smalt.arm.listing import Paging, archived_shown, collect, names_of, next_link, oldest_first, states_of
from smalt.arm.reach import among, narrowed
from smalt.arm.registry import Kinds
from smalt.store import pages, resources
from smalt.store.document import Document
from smalt.store.resources import Row


def one_page(kinds: Kinds, kind: Kind, request: Request, type_: str, url: str) -> Document:
    """`value` and, where there is more, `nextLink` of the collection at `url`. Raises ArmError(400, 404)."""
    query, paging, above = request.query, Paging.of(request.query), request.id.holder
    lookup = query.get(kind.list_lookup) if kind.list_lookup else None
    across = _across(kind, request.id, lookup)
    if kind.inherited and inherited.below_too(query):
        across = f"{above.key}/"
    archived, oldest = archived_shown(query, kind.views), oldest_first(query)
    keep = kind.list_filter
    grants = request.platform.grants.reach(request.principal, f"{kind.qualified}/read")
    reach = narrowed(grants, above.key, kind.key)
    if kind.list_names and kind.list_names in query:
        reach = among([request.id.child(type_, one).key for one in names_of(query[kind.list_names])], reach)
    states = states_of(query.get("status"), kind.list_states)
    with request.platform.database.read() as connection:
        if not kind.creates_parent:
            check_exists(connection, kinds, above)

        def fetch(most: int, skip: str | None) -> pages.Page:
            return pages.page(
                connection,
                kind.key,
                above.key,
                most=most,
                skip=skip,
                archived=archived,
                lookup=lookup,
                oldest_first=oldest,
                prefix=across,
                seen=reach,
                states=states,
            )

        def shown(row: Row) -> bool:
            return (keep is None or keep(row, query)) and seen(kind, request, row)

        rows, skip = collect(fetch, shown if keep or kind.sees else None, paging)
        if not rows and kind.creates_parent and archived is not True and reach is None:
            only = request.id.child(type_, "1")
            if resources.get(connection, only.key) is None:
                found = derived(connection, kind, only)
                rows = [] if found is None or (keep is not None and not keep(found, query)) else [found]
        first = kind.inherited and paging.skip is None
        listed = [*(inherited.above(connection, kind, above, grants) if first else ()), *rows]
    body: Document = {"value": [document(request.platform, kind, row) for row in listed]}
    if skip and (link := next_link(url, query, skip, paging, len(rows))):
        body["nextLink"] = link
    return body


def seen(kind: Kind, request: Request, row: Row) -> bool:
    """Whether who asks sees the row: to others it is not there."""
    return kind.sees is None or kind.sees(request.principal, row)


def derived(connection: Connection, kind: Kind, id_: ResourceId) -> Row | None:
    """The row of a resource that follows from others, None where it does not."""
    return kind.derived(connection, id_) if kind.derived is not None else None


def _across(kind: Kind, id_: ResourceId, lookup: str | None) -> str | None:
    """The prefix below which to look: all groups of a subscription, or a look-up by hash in all of a workspace."""
    if kind.lookup_across and lookup is not None:
        return id_.parent.key + "/"
    if not id_.path and id_.subscription and not id_.group and Scope.SUBSCRIPTION not in kind.scopes:
        return id_.holder.key + "/"
    return None
