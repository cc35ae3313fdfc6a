"""Lists of what holds for all below what it hangs on (`Kind.inherited`): of a scope, with what is above and below it.

`$filter=atScope()`: without what is below, as Azure understands it for locks and role assignments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Kind
from smalt.arm.reach import covers
from smalt.store.resources import Row, read
from smalt.store.tables import resource

_MOST = 200


def below_too(query: Mapping[str, str]) -> bool:
    """Whether a list is also of what is below. Raises ArmError(400)."""
    given = query.get("$filter", "").strip()
    if given and given.lower() != "atscope()":
        message = f"$filter: {given[:100]!r} is not read here; write atScope(), or nothing."
        raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter")
    return not given


def above(connection: Connection, kind: Kind, id_: ResourceId, grants: Sequence[str] | None) -> list[Row]:
    """The rows that hang on what `id_` is in, as far as `grants` reach; the nearest first."""
    places = [one.key for one in id_.ancestors]
    query = select(resource).where(resource.c.kind == kind.key, resource.c.parent.in_(places))
    found = [read(one) for one in connection.execute(query.order_by(resource.c.created_at).limit(_MOST))]
    reach = None if grants is None else [one.lower().rstrip("/") for one in grants]
    seen = [one for one in found if reach is None or any(covers(grant, one.id) for grant in reach)]
    return sorted(seen, key=lambda one: places.index(one.parent))
