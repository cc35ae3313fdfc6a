"""Versions that have no name of a user's: they are named by what they hold, so there is one of each content."""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Connection

from smalt.arm.assets import ensure_container, insert_version
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.store import resources


def version_of(content: Document) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def keep(connection: Connection, id_: ResourceId, properties: Document, now: float, by: str) -> None:
    """Write the version, unless it is there. Lists of its kind leave the container out, as those that clients make."""
    if resources.get(connection, id_.key) is not None:
        return
    if resources.get(connection, id_.parent.key) is None:
        ensure_container(connection, id_.parent, now, by)
        resources.merge_status(connection, id_.parent.key, {"anonymous": True})
    given = {"tags": {}, "properties": {}, "isArchived": False, **properties, "isAnonymous": True}
    insert_version(connection, id_, given, type_="", now=now, by=by)
