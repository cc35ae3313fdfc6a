"""Where blobs are found by their index tags: rows of `blob_tag`, each of one version of one blob.

The truth is in the blob's properties; the index holds at least that. It is written before the blob's row and cleaned up
after it, and whatever is found in it is compared with the blob itself.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, delete, exists, select, tuple_

from smalt.blob.store.catalog import Row
from smalt.blob.store.tag_query import CONTAINER, Term
from smalt.store import tables
from smalt.store.database import Database

_SIGNS = {"=": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_TAG = tables.blob_tag
_VERSION = (_TAG.c.account, _TAG.c.container, _TAG.c.name, _TAG.c.version)
_ORPHANED = ~exists().where(*(tables.blob.c[column.name] == column for column in _VERSION))
_SWEPT_MOST = 10_000  # at once; the rest at the next sweeps


class TagIndex:
    """All calls may block."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._orphans: set[tuple[object, ...]] = set()  # of the last sweep

    def add(self, row: Row) -> None:
        """Before the row is committed."""
        self._replace(row, row.properties.tags)

    def keep(self, row: Row) -> None:
        """After it is: tags that this version had before are no more."""
        with self._database.write() as connection:
            connection.execute(_of(row).where(_TAG.c.key.not_in(list(row.properties.tags))))

    def drop(self, row: Row) -> None:
        with self._database.write() as connection:
            connection.execute(_of(row))

    def drop_below(self, account: str, container: str, prefix: str = "") -> None:
        rows = delete(_TAG).where(_TAG.c.account == account, _TAG.c.container == container)
        if prefix:
            rows = rows.where(_TAG.c.name.startswith(prefix, autoescape=True))
        with self._database.write() as connection:
            connection.execute(rows)

    def sweep(self) -> None:
        """Rows of versions that are no more: of a process that was killed, or of a job's change of the file.

        A write puts its tags here before it puts its blob's row: what has none at one sweep goes at the next.
        """
        with self._database.write() as connection:
            found = connection.execute(select(*_VERSION).where(_ORPHANED).distinct().limit(_SWEPT_MOST))
            orphans = {tuple(row) for row in found}
            for version in orphans & self._orphans:
                same = [column == value for column, value in zip(_VERSION, version, strict=True)]
                connection.execute(delete(_TAG).where(_ORPHANED, *same))
        self._orphans = orphans - self._orphans

    def find(self, account: str, terms: Sequence[Term], after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """Containers and names that may have what `terms` ask for, in order, behind `after`."""
        first = [term for term in terms if term.key != CONTAINER]
        query = select(_TAG.c.container, _TAG.c.name).distinct().where(_TAG.c.account == account)
        query = query.where(tuple_(_TAG.c.container, _TAG.c.name) > after)
        for term in terms:
            if term.key == CONTAINER:
                query = query.where(_TAG.c.container == term.value)
        if first:
            query = query.where(_matches(_TAG, first[0]))
        for number, term in enumerate(first[1:]):
            other = _TAG.alias(f"other{number}")
            same = [other.c[name] == _TAG.c[name] for name in ("account", "container", "name", "version")]
            query = query.where(exists().where(*same, _matches(other, term)))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_TAG.c.container, _TAG.c.name).limit(limit))
            return [(row.container, row.name) for row in rows]

    def _replace(self, row: Row, tags: Mapping[str, str]) -> None:
        key = {"account": row.account, "container": row.container, "name": row.name, "version": row.version}
        with self._database.write() as connection:
            connection.execute(_of(row).where(_TAG.c.key.in_(list(tags))))
            connection.execute(_TAG.insert(), [{**key, "key": name, "value": value} for name, value in tags.items()])


def _of(row: Row):
    return delete(_TAG).where(
        _TAG.c.account == row.account,
        _TAG.c.container == row.container,
        _TAG.c.name == row.name,
        _TAG.c.version == row.version,
    )


def _matches(table, term: Term) -> ColumnElement[bool]:
    return and_(table.c.key == term.key, _SIGNS[term.sign](table.c.value, term.value))
