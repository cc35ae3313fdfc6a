"""Management locks: what nobody may change or delete, the owner included, decided before a kind's own code.

A lock holds for what it hangs on and all below it, and keeps what is above from being deleted. It binds what clients
ask of Resource Manager: what the platform does by itself goes on, and so do blobs, MLflow and scoring.
https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, String, bindparam, select

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.store.tables import resource

LOCKS = "microsoft.authorization/locks"  # as rows have their kind; their `lookup` is the level
CAN_NOT_DELETE, READ_ONLY = LEVELS = ("CanNotDelete", "ReadOnly")
_NAMED_MOST = 10
# Built once. What is below is not found by the index of ids: there are few locks, and much may be below.
_LOCK = select(resource.c.written, resource.c.lookup).where(resource.c.kind == LOCKS)
_HANGS_ON = _LOCK.where(resource.c.parent.in_(bindparam("places", expanding=True)))
_KEY, _BEGIN, _END = resource.c.id + "", bindparam("begin", type_=String), bindparam("end", type_=String)
_BELOW = _LOCK.where(_KEY > _BEGIN, _KEY < _END).limit(_NAMED_MOST + 1)


class _Lock(NamedTuple):
    written: str
    level: str


def check_write(connection: Connection, id_: ResourceId) -> None:
    """Raises ArmError(409) where the resource or something that it is in is read-only. Of a POST, too."""
    if id_.kind != LOCKS:
        _refuse(id_, "write", [one for one in _inherited(connection, id_) if one.level == READ_ONLY])


def check_delete(connection: Connection, id_: ResourceId) -> None:
    """Raises ArmError(409) where the resource, something that it is in or something below it is locked."""
    if id_.kind != LOCKS:
        _refuse(id_, "delete", [*_inherited(connection, id_), *_below(connection, id_)])


def _inherited(connection: Connection, id_: ResourceId) -> list[_Lock]:
    places = [id_.key, *(one.key for one in id_.ancestors)]
    return [_Lock(*row) for row in connection.execute(_HANGS_ON, {"places": places})]


def _below(connection: Connection, id_: ResourceId) -> list[_Lock]:
    """Those that hang on what is below; some that hang on the resource itself are among them."""
    between = {"begin": f"{id_.key}/", "end": f"{id_.key}0"}  # '0' follows '/'
    return [_Lock(*row) for row in connection.execute(_BELOW, between)]


def _refuse(id_: ResourceId, operation: str, locks: Iterable[_Lock]) -> None:
    scopes = sorted({one.written.rpartition("/providers/")[0] for one in locks}, key=lambda one: (len(one), one))
    if scopes:
        message = (
            f"The scope '{id_}' cannot perform {operation} operation because following scope(s) are locked:"
            f" '{','.join(scopes[:_NAMED_MOST])}'. Please remove the lock and try again."
        )
        raise ArmError(409, "ScopeLocked", message)
