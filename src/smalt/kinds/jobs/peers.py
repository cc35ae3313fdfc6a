"""What the nodes of a job know each other by: made with its first attempt, sealed, gone with the job's row."""

from __future__ import annotations

import secrets

from smalt.arm.platform import Platform
from smalt.store.resources import Row

_SECRET = "nodes"


def secret(platform: Platform, row: Row) -> str:
    """The same for all attempts. Letters and digits."""
    with platform.database.write() as connection:
        found = platform.secrets.of(connection, row.id).get(_SECRET)
        if found is None:
            found = secrets.token_hex(32)
            platform.secrets.set(connection, row.id, _SECRET, found)
    return found
