"""Pages of the `resource` table: the rows of one kind below one resource, in order, each page at the cost of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from smalt.store.resources import Row, read
from smalt.store.tables import resource

PAGE_BYTES = 4 << 20
AMONG_MOST = 200  # ids in one condition


@dataclass(frozen=True)
class Page:
    rows: list[Row]
    skip: str | None  # where the next page begins
    full: bool = False  # closed before its time: it holds as many bytes as one may


def page(
    connection: Connection,
    kind: str | Sequence[str],
    parent: str,
    *,
    most: int,
    skip: str | None = None,
    archived: bool | None = False,
    lookup: str | None = None,
    oldest_first: bool = False,
    prefix: str | None = None,
    seen: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
) -> Page:
    """One page, newest first unless asked otherwise; `archived` None means both. O(page), not O(all).

    With `prefix` it is of all whose ids begin so, whatever their parent. `seen`: only these rows, and with `prefix`
    those below them too; O(page and `seen`). `states`: only rows in one of these. Rows are read one by one up to about
    `PAGE_BYTES`, so large ones are never all in memory.
    """
    of_kind, above = resource.c.kind, resource.c.parent
    if seen is not None and prefix is None:  # few, by their ids: SQLite would read all of the index of lists instead
        of_kind, above = _unindexed(of_kind), _unindexed(above)
    within = above == parent if prefix is None else resource.c.id.startswith(prefix, autoescape=True)
    query: Select[Any] = select(resource).where(within)
    if lookup is not None:
        query = query.where(resource.c.lookup == lookup)
    if skip:
        at, _, key = skip.partition("~")
        mark, column = float(at), resource.c.created_at
        if oldest_first:  # the first term alone is one that an index can begin at
            query = query.where(column >= mark, or_(column > mark, resource.c.id > key))
        else:
            query = query.where(column <= mark, or_(column < mark, resource.c.id < key))
    order = (
        (resource.c.created_at, resource.c.id) if oldest_first else (resource.c.created_at.desc(), resource.c.id.desc())
    )
    query = query.order_by(*order).limit(most + 1)
    parts = [query] if seen is None else [query.where(one) for one in _among(seen, below=prefix is not None)]
    each = [  # each of them in the index's order: together they would be sorted, all of them
        connection.execute(part.where(of_kind == key, resource.c.archived == one, *in_state))
        for key in ((kind,) if isinstance(kind, str) else kind)
        for part in parts
        for one in ((False, True) if archived is None else (archived,))
        for in_state in ([()] if states is None else [(resource.c.state == state,) for state in states])
    ]
    rows: list[Row] = []
    size = 0
    for found in merge(*each, key=lambda one: (one.created_at, one.id), reverse=not oldest_first):
        size += len(found.spec) + len(found.status)
        if rows and (len(rows) == most or size > PAGE_BYTES):
            return Page(rows, place_after(rows[-1]), size > PAGE_BYTES)
        rows.append(read(found))
    return Page(rows, None)


def _unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """The same text, by which SQLite does not choose an index."""
    return column + ""


def _among(ids: Sequence[str], below: bool) -> Iterator[ColumnElement[bool]]:
    """Conditions of a bounded size that are one or the other of these rows; `below`: or below them."""
    for at in range(0, len(ids), AMONG_MOST):
        some, id_ = ids[at : at + AMONG_MOST], resource.c.id
        if below:  # among the few of the kind: a range of ids is all that a group holds
            id_ = _unindexed(id_)
            yield or_(id_.in_(some), *(and_(id_ > f"{one}/", id_ < f"{one}0") for one in some))  # '0' follows '/'
        else:
            yield id_.in_(some)


def place_after(row: Row) -> str:
    """Where the page behind this row begins."""
    return f"{row.created_at!r}~{row.id}"
