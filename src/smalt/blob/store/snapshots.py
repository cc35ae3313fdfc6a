"""Snapshots: what a blob was at a moment, kept until it is deleted, whatever becomes of the blob.

The bytes are objects of their own in a bucket that no container can have (`.snapshots/ACCOUNT/CONTAINER`),
copied because jobs and appends change files in place; the file system shares the blocks where it can. The
rest is in `blob_snapshot`. The object is there before its row, and goes after it: a crash leaves at worst
an object that nobody names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, select

from smalt.blob.names import Target
from smalt.blob.store.catalog import Row, load_properties
from smalt.blob.store.objects import ObjectInfo, ObjectReader, ObjectStore, Staged
from smalt.store import tables
from smalt.store.database import Database

_TABLE = tables.blob_snapshot
_ROWS = 1000


def snapshot_id(stamp_ns: int) -> str:
    """`2026-11-22T01:02:03.1234567Z`; ids compare as times."""
    seconds, rest = divmod(stamp_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 100:07}Z"


class Snapshots:
    """All calls may block."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store
        self._places: set[tuple[str, str]] | None = None

    def any_in(self, account: str, container: str) -> bool:
        """Whether there may be snapshots in a container. From memory: deletions ask it."""
        if self._places is None:
            with self._database.read() as connection:
                rows = connection.execute(select(_TABLE.c.account, _TABLE.c.container).distinct())
                self._places = {(row.account, row.container) for row in rows}
        return (account, container) in self._places

    def take(self, target: Target, staged: Staged, row: Row) -> Target:
        """Make `staged` a snapshot with the row's properties. Returns its target."""
        target = Target(target.account, target.container, target.blob, snapshot_id(staged.version))
        key = f"{staged.version:016x}"
        info = self._store.put(_bucket(target), key, staged)
        values = {
            "object": key,
            "version": info.version,
            "size": row.size,
            "etag": row.etag,
            "properties": row.properties.dump(),
            "blocks": row.blocks,
        }
        with self._database.write() as connection:
            connection.execute(_TABLE.insert().values(**_key(target), **values))
        self.any_in(target.account, target.container)
        assert self._places is not None
        self._places.add((target.account, target.container))
        return target

    def get(self, target: Target) -> tuple[ObjectInfo, Row] | None:
        with self._database.read() as connection:
            found = connection.execute(select(_TABLE).filter_by(**_key(target))).first()
        return _read(found) if found else None

    def open(self, target: Target) -> ObjectReader | None:
        with self._database.read() as connection:
            found = connection.execute(select(_TABLE.c.object).filter_by(**_key(target))).scalar()
        return self._store.open(_bucket(target), found) if found else None

    def of(self, target: Target) -> list[Target]:
        """The snapshots of a blob, oldest first."""
        if not self.any_in(target.account, target.container):
            return []
        query = select(_TABLE.c.snapshot).filter_by(
            account=target.account, container=target.container, name=target.blob
        )
        with self._database.read() as connection:
            found = connection.execute(query.order_by(_TABLE.c.snapshot)).scalars()
            return [Target(target.account, target.container, target.blob, one) for one in found]

    def list(
        self, target: Target, prefix: str, after: tuple[str, str], last: str | None, limit: int
    ) -> Sequence[tuple[str, ObjectInfo, Row]]:
        """Snapshot, object and row of those of a container, in order: behind (name, snapshot), up to name `last`."""
        if not self.any_in(target.account, target.container):
            return []
        name, snapshot = _TABLE.c.name, _TABLE.c.snapshot
        query = select(_TABLE).filter_by(account=target.account, container=target.container)
        query = query.where((name > after[0]) | and_(name == after[0], snapshot > after[1]))
        if prefix:
            query = query.where(name >= prefix, name < prefix + "\U0010ffff")
        if last is not None:
            query = query.where(name <= last)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(name, snapshot).limit(limit))
            return [(row.snapshot, *_read(row)) for row in rows]

    def delete(self, targets: Iterable[Target]) -> None:
        for target in targets:
            with self._database.write() as connection:
                found = connection.execute(select(_TABLE.c.object).filter_by(**_key(target))).scalar()
                connection.execute(_TABLE.delete().filter_by(**_key(target)))
            if found:
                self._store.delete(_bucket(target), found)

    def drop_below(self, account: str, container: str, prefix: str = "") -> None:
        """Those of blobs whose names begin with `prefix`; without one all of a container that is no more."""
        target = Target(account, container)
        if prefix:
            while found := self.list(target, prefix, ("", ""), None, _ROWS):
                self.delete(Target(account, container, row.name, snapshot) for snapshot, _, row in found)
            return
        if not self.any_in(account, container):
            return
        with self._database.write() as connection:
            connection.execute(_TABLE.delete().filter_by(account=account, container=container))
        self._store.remove(_bucket(target))
        assert self._places is not None
        self._places.discard((account, container))


def _bucket(target: Target) -> str:
    return f".snapshots/{target.bucket}"


def _key(target: Target) -> dict[str, str]:
    return {
        "account": target.account,
        "container": target.container,
        "name": target.blob,
        "snapshot": target.snapshot,
    }


def _read(row: Any) -> tuple[ObjectInfo, Row]:
    info = ObjectInfo(row.name, row.size, row.version, row.version / 1e9, row.etag)
    properties = load_properties(row.properties)
    return info, Row(row.account, row.container, row.name, row.version, row.size, row.etag, properties, row.blocks)
