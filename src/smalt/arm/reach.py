"""Which rows of a list its reader may see: what grants mean for what is below one resource.

Grants are ids; each reaches what it names and all below. A list is narrowed in SQL, before it is cut into pages.
"""

from __future__ import annotations

from collections.abc import Sequence

from smalt.arm.ids import NotAnId, ResourceId


def narrowed(grants: Sequence[str] | None, above: str, kind: str = "") -> tuple[str, ...] | None:
    """The grants that matter in a list below `above` (a key), of one `kind`. None: all rows are seen; (): none is."""
    if grants is None:
        return None
    reach = {one.lower().rstrip("/") for one in grants}
    if any(covers(one, above) for one in reach):
        return None
    if kind == "subscriptions":  # clients begin with a subscription: who may do anything in it sees it
        reach = {_subscription(one) for one in reach}
    return tuple(sorted(one for one in reach if one and covers(above, one)))


def among(keys: Sequence[str], reach: Sequence[str] | None) -> tuple[str, ...]:
    """Those of the resources that grants (as `narrowed` has them) reach."""
    return tuple(one for one in keys if reach is None or any(covers(grant, one) for grant in reach))


def covers(grant: str, key: str) -> bool:
    """Whether a grant (lowered, '' for the tenant) reaches the resource."""
    return not grant or key == grant or key.startswith(grant + "/")


def _subscription(grant: str) -> str:
    try:
        subscription = ResourceId.parse(grant).subscription
    except NotAnId:
        return ""
    return ResourceId(subscription).key if subscription else ""
