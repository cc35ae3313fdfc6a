"""What is nobody's mistake and passes: a database that is locked or absent, an object store that is away, a full disk.

Every edge answers these alike.

A full disk is a 422 and not the 507 of WebDAV: the clients try a 507 again for minutes (azure-core from 506 up,
azure-storage-blob all from 500 but 501 and 505), azure-ai-ml some calls on a 413, and take a 409 for "exists already".
"""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import OperationalError

from smalt.arm.errors import ArmError
from smalt.store.database import Collision
from smalt.store.resources import Changed

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_SOON = {"Retry-After": "1"}
# SQLite's words, and the system's. An I/O error is what it says where its files cannot grow at all.
_NO_ROOM = ("database or disk is full", "disk i/o error", "no space left", "disk quota exceeded")


class StoreAway(OSError):
    """The object store is not reached, is too slow, or refuses us; the text says which, and nothing secret.

    Another try may mend it, or whoever runs the store.
    """


def outage(error: BaseException) -> ArmError | None:
    """503 `ServerBusy` (come again) or 422 `InsufficientStorage`; None for what is a failure of our own."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return disk_full()
    if isinstance(error, StoreAway):
        return ArmError(503, "ServerBusy", f"The object store cannot be used now: {error}. Try again.", headers=_SOON)
    if isinstance(error, Collision | Changed):
        return ArmError(503, "ServerBusy", "Others write the same now. Nothing was written; try again.", headers=_SOON)
    if not isinstance(error, OperationalError):
        return None
    said = str(error.orig).lower()
    if any(words in said for words in _NO_ROOM):
        return disk_full()
    if "locked" in said or "busy" in said or not isinstance(error.orig, sqlite3.Error):  # PostgreSQL: not reached
        message = "The database is locked or cannot be reached. Nothing was written; try again."
        return ArmError(503, "ServerBusy", message, headers=_SOON)
    return None


def outage_of_another(answer: str) -> ArmError | None:
    """The same for the text of a failure of another server that writes to our disk, such as MLflow's."""
    said = answer.lower()
    return disk_full() if any(words in said for words in _NO_ROOM) else None


def disk_full(target: str = "") -> ArmError:
    message = (
        "There is no space left on the platform's disk, or it fails. Nothing was written; free some, then try again:"
        " what can be deleted goes on being deleted."
    )
    return ArmError(422, "InsufficientStorage", message, target)
