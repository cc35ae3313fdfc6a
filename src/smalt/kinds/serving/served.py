"""A deployment's place in lineage: which model it serves, and since when."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.assets.registries import shown_id
from smalt.store import lineage
from smalt.store.document import part
from smalt.store.resources import Row

_SERVES = "serves"  # in the status: the generation that came up last, and its model


def note(platform: Platform, row: Row, status: Document) -> Callable[[Connection], None] | None:
    """What is written with the step in which a generation has come up; None: it was written."""
    model = str(row.properties.get("model") or "")
    if status.get(_SERVES) == [row.generation, model]:
        return None
    status[_SERVES] = [row.generation, model]
    key, now = ResourceId.parse(model).key if model else "", platform.clock()
    return lambda connection: lineage.serve(connection, row.id, key, now)


def view(platform: Platform, row: Row) -> Document:
    """The model by the id that clients know."""
    model = row.properties.get("model")
    return {"model": shown_id(str(model))} if model else {}


def origin(connection: Connection, row: Row) -> Document:
    given = row.properties
    said: Document = {
        "endpoint": ResourceId.parse(row.written).parent.name,
        "model": given.get("model"),
        "environment": {"id": given["environmentId"]} if given.get("environmentId") else None,
        "code": part(given, "codeConfiguration").get("codeId"),
    }
    return {name: one for name, one in said.items() if one}
