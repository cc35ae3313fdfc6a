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

MADE_BY, MADE, SHA256 = "smalt.made_by", "smalt.made", "smalt.sha256"
_OURS = (MADE_BY, MADE, SHA256)
_MOST = 10


def by(platform: Platform, row: Row) -> Document:
    """A version, with the job that made it, and the hash of what is in its files where that is noted."""
    jobs = [ResourceId.parse(key).name for key in _others(platform, row, upstream=True)]
    return _shown(row, {MADE_BY: " ".join(sorted(jobs)), SHA256: part(row.status, "content").get("sha256", "")})


def what(platform: Platform, row: Row) -> Document:
    """A job, with some of the versions that it made."""
    ids = [ResourceId.parse(key) for key in _others(platform, row, upstream=False)]
    titles = (f"{'model' if one.ancestor('models') else 'data'}:{one.parent.name}:{one.name}" for one in ids)
    return _shown(row, {MADE: " ".join(sorted(titles))})


def without(properties: Mapping[str, Any] | None) -> Document | None:
    """Properties as a client that read them writes them back."""
    return None if properties is None else {key: one for key, one in properties.items() if key not in _OURS}


def _others(platform: Platform, row: Row, upstream: bool) -> list[str]:
    with platform.database.read() as connection:
        found = lineage.edges(connection, [End(row.id, row.created_at)], upstream, _MOST)
    return [(one.source if upstream else one.target).key for one in found if one.what == lineage.OUTPUT]


def _shown(row: Row, values: Mapping[str, str]) -> Document:
    """What is known of `values`, beside the properties that it was given."""
    known = {name: value for name, value in values.items() if value}
    return {"properties": {**part(row.properties, "properties"), **known}} if known else {}
