"""What is nobody's mistake and passes: a locked or absent database, a full disk. Every edge answers these alike."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import OperationalError

from smalt.arm.errors import ArmError
from smalt.store.database import Collision
from smalt.store.resources import Changed

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_SOON = {"Retry-After": "1"}


def outage(error: BaseException) -> ArmError | None:
    """503 `ServerBusy` (come again) or 507 `InsufficientStorage`; None for what is a failure of our own."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return _full()
    if isinstance(error, Collision | Changed):
        return ArmError(503, "ServerBusy", "Others write the same now. Nothing was written; try again.", headers=_SOON)
    if not isinstance(error, OperationalError):
        return None
    said = str(error.orig).lower()
    if "full" in said or "no space left" in said:
        return _full()
    if "locked" in said or "busy" in said or not isinstance(error.orig, sqlite3.Error):  # PostgreSQL: not reached
        message = "The database is locked or cannot be reached. Nothing was written; try again."
        return ArmError(503, "ServerBusy", message, headers=_SOON)
    return None


def _full() -> ArmError:
    message = "There is no space left on the platform's disk. Nothing was written; free some, then try again."
    return ArmError(507, "InsufficientStorage", message)
