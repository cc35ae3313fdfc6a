"""`{any id}/providers/Microsoft.Authorization/locks/{name}`: management locks. What they do is in `arm/locks.py`.

https://learn.microsoft.com/rest/api/resources/management-locks (2016-09-01 and 2020-05-01)
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.ids import Scope
from smalt.arm.kind import Admitted, Kind, Request
from smalt.arm.locks import LEVELS, LOCKS
from smalt.arm.validation import Properties
from smalt.store.resources import Row

_NOTES_MOST = 512


class Owner(Properties):
    application_id: str | None = None


class LockProperties(Properties):
    level: str
    notes: str | None = None
    owners: list[Owner] | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if request.id.parent.kind == LOCKS:
        raise invalid("A lock cannot be locked; lock what it hangs on.", "id")
    properties = dict(request.body["properties"])
    level = next((one for one in LEVELS if one.lower() == properties["level"].lower()), None)
    if level is None:
        raise invalid(f"properties.level: this must be {' or '.join(LEVELS)}.", "properties.level")
    if len(properties.get("notes") or "") > _NOTES_MOST:
        raise invalid(f"properties.notes: this has more than {_NOTES_MOST} characters.", "properties.notes")
    return Admitted({**request.body, "properties": {**properties, "level": level}}, lookup=level)


KIND = Kind(
    path="locks",
    title="lock",
    provider="Microsoft.Authorization",
    scopes=frozenset({Scope.SUBSCRIPTION, Scope.GROUP, Scope.RESOURCE}),
    inherited=True,
    properties=LockProperties,
    admit=_admit,
    name_pattern=r"^[^<>%&:\\?/\x00-\x1f\x7f]{1,260}$",
)
