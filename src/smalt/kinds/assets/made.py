"""Properties that tell clients what lineage knows: who made a version, what a job made. They are shown and not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.store import lineage
from smalt.store.document import part
from smalt.store.lineage import End
from smalt.store.resources import Row

MADE_BY, MADE = "smalt.made_by", "smalt.made"
_MOST = 10


def by(platform: Platform, row: Row) -> Document:
    """A version, with the job that made it."""
    jobs = [ResourceId.parse(key).name for key in _others(platform, row, upstream=True)]
    return _shown(row, MADE_BY, sorted(jobs))


def what(platform: Platform, row: Row) -> Document:
    """A job, with some of the versions that it made."""
    ids = [ResourceId.parse(key) for key in _others(platform, row, upstream=False)]
    titles = (f"{'model' if one.ancestor('models') else 'data'}:{one.parent.name}:{one.name}" for one in ids)
    return _shown(row, MADE, sorted(titles))


def without(properties: Mapping[str, Any] | None) -> Document | None:
    """Properties as a client that read them writes them back."""
    return None if properties is None else {key: one for key, one in properties.items() if key not in (MADE_BY, MADE)}


def _others(platform: Platform, row: Row, upstream: bool) -> list[str]:
    with platform.database.read() as connection:
        found = lineage.edges(connection, [End(row.id, row.created_at)], upstream, _MOST)
    return [(one.source if upstream else one.target).key for one in found if one.what == lineage.OUTPUT]


def _shown(row: Row, name: str, values: list[str]) -> Document:
    return {"properties": {**part(row.properties, "properties"), name: " ".join(values)}} if values else {}
