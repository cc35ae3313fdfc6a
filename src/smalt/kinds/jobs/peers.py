"""What the nodes of a job know each other by: made with its first attempt, sealed, gone when the job has ended."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection

from smalt.arm.platform import Platform
from smalt.kinds.jobs.status import JobStatus
from smalt.store.resources import Row

_SECRET = "nodes"
_BEFORE = "parallel"  # its name in older versions, of parallel jobs


def secret(platform: Platform, row: Row, status: JobStatus) -> str:
    """The same for all attempts. Letters and digits."""
    if status.older_secret:  # others of the attempt's tasks may have been begun with it
        return status.older_secret
    with platform.database.write() as connection:
        known = platform.secrets.of(connection, row.id)
        found = known.get(_SECRET) or known.get(_BEFORE)
        if found is None:
            found = secrets.token_hex(32)
            platform.secrets.set(connection, row.id, _SECRET, found)
    return found


def forget(platform: Platform, connection: Connection, row: Row) -> None:
    """Nobody is left who is to know it. Whichever job: between two attempts its status names no tasks."""
    platform.secrets.forget(connection, row.id, _SECRET, _BEFORE)
