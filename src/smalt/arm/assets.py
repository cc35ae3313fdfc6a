"""Versions that something other than a PUT writes: what a job leaves behind, what MLflow's clients register.

A container's status holds the newest version and the next number, kept in the transaction that writes a version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.store import pages, resources
from smalt.store.resources import Lock, Row

_NUMBER = re.compile(r"[0-9]{1,18}")  # what clients count on from


def ensure_container(connection: Connection, id_: ResourceId, now: float, by: str) -> Row:
    """The container's row, made where it is missing."""
    row = resources.get(connection, id_.key, Lock.WRITE)
    if row is None:
        _insert(connection, id_, {"tags": {}}, {}, now, by, due=False)
        row = resources.get(connection, id_.key)
        assert row is not None
    return row


def insert_version(
    connection: Connection,
    id_: ResourceId,
    properties: Mapping[str, Any],
    *,
    type_: str,
    now: float,
    by: str,
    status: Mapping[str, Any] | None = None,
    due: bool = False,
) -> None:
    """A version that is not there yet, and its container. `due` hands it to the kind's reconciler."""
    above = ensure_container(connection, id_.parent, now, by)
    _insert(connection, id_, properties, status or {}, now, by, due)
    note_version(connection, above, id_.name, type_, new=True)


def note_version(connection: Connection, above: Row, version: str, type_: str | None, new: bool) -> None:
    """Keep the container's `latest` and `next` right after a version was written or removed. `above` is locked."""
    newest = pages.page(connection, above.kind + "/versions", above.id, most=1).rows
    noted: dict[str, Any] = {"latest": newest[0].name if newest else None}
    if new and _NUMBER.fullmatch(version):
        noted["next"] = max(int(above.status.get("next", 1)), int(version) + 1)
    if type_:
        noted["type"] = type_
    resources.merge_status(connection, above.id, noted)


def _insert(
    connection: Connection,
    id_: ResourceId,
    properties: Mapping[str, Any],
    status: Mapping[str, Any],
    now: float,
    by: str,
    due: bool,
) -> None:
    resources.insert(
        connection,
        key=id_.key,
        written=str(id_),
        kind=id_.kind,
        parent=id_.parent.key,
        name=id_.name,
        spec={"properties": dict(properties)},
        status=status,
        state="Succeeded",
        now=now,
        by=by,
        due_at=now if due else None,
        archived=bool(properties.get("isArchived")),
    )
