"""What alerts and autoscale settings have in common: whom they name, which metric, how long a window."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.errors import invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Request
from smalt.arm.validation import nearest
from smalt.kinds.insights.metrics import DEPLOYMENT, INSIGHTS, defined
from smalt.store import resources
from smalt.store.resources import Lock, Row

_ONCE = "instance"  # what `instanceId` was once called
READ_METRICS = f"{INSIGHTS}/metrics/read"


def found(request: Request, connection: Connection, uri: str, field: str, action: str, lock: Lock | None = None) -> Row:
    """The resource that a document names, if the caller may do `action` there. Raises ArmError.

    Ids may be sent in more than one way: keep `written` of it.
    """
    try:
        key = ResourceId.parse(uri).key
    except NotAnId:
        raise invalid(f"{field}: '{uri[:200]}' is no resource id.", field) from None
    request.platform.grants.check(request.principal, action, key)
    row = resources.get(connection, key, lock)
    if row is None or row.deleting:
        raise invalid(f"{field}: there is no resource '{uri[:300]}'.", field)
    return row


def check_metric(connection: Connection, row: Row, name: str, dimensions: Iterable[str], at: str) -> None:
    """Raises ArmError(400) where the resource has no such metric, or the metric no such dimension.

    `at`: the part of the document that has `metricName` and `dimensions`.
    """
    known = {one: metric for metric, one in defined(connection, ResourceId.parse(row.written))}
    if name not in known:
        field = f"{at}.metricName"
        raise invalid(f"{field}: '{row.name}' has no metric '{name[:100]}'.{nearest(name, list(known))}", field)
    labels = (*known[name].labels, DEPLOYMENT)
    for number, one in enumerate(dimensions):
        if one.lower() not in {label.lower() for label in labels} | {_ONCE}:
            field = f"{at}.dimensions.{number}"
            raise invalid(f"{field}: '{name}' is told apart by {', '.join(labels)}, not by '{one[:100]}'.", field)


def whole_minutes(given: str, field: str, most_s: float) -> int:
    """Raises ArmError(400)."""
    found = seconds_of(given, 0, field)
    if found < 60 or found % 60 or found > most_s:
        raise invalid(f"{field}: '{given}' is not whole minutes, from PT1M to {most_s / 3600:g} h.", field)
    return int(found)
