"""What a resource is in: that it is there and stays, and what to say where it is not."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, conflict, not_found
from smalt.arm.ids import TENANT, ResourceId
from smalt.arm.kind import Kind
from smalt.store import resources
from smalt.store.resources import Lock

_CODES = {"subscriptions": "SubscriptionNotFound", "resourcegroups": "ResourceGroupNotFound"}


def check_above(connection: Connection, kinds: Mapping[str, Kind], id_: ResourceId, kind: Kind) -> None:
    """What the resource is made in exists, and nothing above it is being deleted: it would be forgotten there.

    Raises ArmError(404, 409).
    """
    above = id_.parent.parent if kind.creates_parent else id_.parent
    rows = resources.get_many(connection, [one.key for one in id_.ancestors], Lock.BELOW)
    if above != TENANT and above.key not in rows:
        raise missing(connection, kinds, above)
    going = next((row for row in rows.values() if row.deleting), None)
    if going is not None:
        title = kinds[going.kind].title
        raise conflict(
            f"The {title} '{going.name}' is being deleted, with all that is in it."
            " Wait for its end, and create it again.",
            "id",
        )


def check_exists(connection: Connection, kinds: Mapping[str, Kind], id_: ResourceId) -> None:
    """Raises ArmError(404)."""
    if id_ != TENANT and resources.get(connection, id_.key) is None:
        raise missing(connection, kinds, id_)


def missing(connection: Connection, kinds: Mapping[str, Kind], id_: ResourceId) -> ArmError:
    """404 for the highest that is missing of `id_` and all above it: a wrong workspace is not a wrong job."""
    there = resources.get_many(connection, [one.key for one in id_.ancestors])
    id_ = next((one for one in reversed(id_.ancestors) if one.key not in there), id_)
    title = kinds[id_.kind].title if id_.kind in kinds else id_.kind
    error = not_found(title[0].upper() + title[1:], id_.name)
    return ArmError(404, _CODES.get(id_.kind, error.code), f"{error.message} ({id_})", target=id_.name)
