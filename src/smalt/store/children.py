"""How many counted children a resource has, by state: kept where rows are written, so that nobody has to count rows.

A counted child that ends wakes what is above: at once where few are left, later where many are, so that one step of
what is above answers for all of them that end meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Float, String, bindparam, case, select, text, update

from smalt.store.row import New, Row
from smalt.store.tables import child_count, resource

OPEN = ""  # no state: how many have not come to their end
FEW = 8  # children that are open: the one above looks at once, as one of them may be all that it waits for
PACE_S = 0.01  # for each child above that: so much later the one above looks at those that have ended
PACE_MOST_S = 1.0

_COUNT = text(
    "INSERT INTO child_count (parent, state, number) VALUES (:parent, :state, :by)"
    " ON CONFLICT (parent, state) DO UPDATE SET number = child_count.number + excluded.number"
)
_COUNTS = select(child_count.c.state, child_count.c.number).where(
    child_count.c.parent == bindparam("above", type_=String), child_count.c.number > 0
)
_AT = bindparam("at", type_=Float)
# Until this transaction has counted nobody else counts, and the one above is not looked at. SQLite has one writer.
_LOCK = select(resource.c.id).where(resource.c.id == bindparam("above", type_=String)).with_for_update(key_share=True)
_WAKE = (
    update(resource)
    .where(resource.c.id == bindparam("above", type_=String))
    .values(due_at=case((resource.c.due_at <= _AT, resource.c.due_at), else_=_AT))
)


def counts(connection: Connection, parent: str) -> dict[str, int]:
    """The number of counted children in each state that any is in; under OPEN that of all that have not ended."""
    return {row.state: row.number for row in connection.execute(_COUNTS, {"above": parent})}


def added(connection: Connection, rows: Sequence[New]) -> None:
    for parent in sorted({row.parent for row in rows}):
        these = [row for row in rows if row.parent == parent]
        steps = Counter(row.state for row in these)
        steps[OPEN] = sum(1 for row in these if row.due_at is not None)
        _count(connection, parent, steps)


def changed(connection: Connection, row: Row, state: str | None, ended: bool, now: float) -> None:
    """`row`, as it was, is in `state` now; None: it is gone. `ended`: and that is its end."""
    if not row.counted:
        return
    steps = {OPEN: (0 if ended else 1) - (1 if row.ended_at is None else 0)}
    if state != row.state:
        steps |= {row.state: -1} if state is None else {row.state: -1, state: 1}
    if steps[OPEN] < 0:
        if connection.dialect.name == "postgresql":
            connection.execute(_LOCK, {"above": row.parent})
        left = counts(connection, row.parent).get(OPEN, 0) - 1
        wake(connection, row.parent, now + min(PACE_S * max(0, left - FEW), PACE_MOST_S))
    _count(connection, row.parent, steps)


def wake(connection: Connection, parent: str, at: float) -> None:
    """The one above is looked at then, or before."""
    connection.execute(_WAKE, {"above": parent, "at": at})


def _count(connection: Connection, parent: str, steps: Mapping[str, int]) -> None:
    """In one order, so that two who count at once wait for each other and do not deadlock."""
    rows = [{"parent": parent, "state": state, "by": by} for state, by in sorted(steps.items()) if by]
    if rows:
        connection.execute(_COUNT, rows)


def forget(connection: Connection, parent: str) -> None:
    connection.execute(child_count.delete().where(child_count.c.parent == parent))
