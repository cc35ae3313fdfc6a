"""A long metric as a chart can show it: some points of it, and each peak among them.

The points are read once, in order, so many at a time; of each such bucket the least and the greatest stay, and one that
is no number. With 1,000,000 points that takes half a second and the memory of one bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from smalt.store.quick import batches

Row = tuple[Any, ...]  # value, is_nan, milliseconds, step
_POINTS = "SELECT value, is_nan, timestamp, step FROM metrics WHERE run_uuid = {mark} AND key = {mark}"
# MLflow's index has a run's points by step, and SQLite those of one step as they came: there nothing is sorted.
_IN_ORDER = {"sqlite": " ORDER BY step", "postgresql": " ORDER BY step, timestamp, value"}
_OF_STEP = " AND step = (SELECT {which}(step) FROM metrics WHERE run_uuid = {{mark}} AND key = {{mark}}) ORDER BY "
_FIRST = _OF_STEP.format(which="min") + "timestamp, value LIMIT 1"
_LAST = _OF_STEP.format(which="max") + "timestamp DESC, value DESC LIMIT 1"


def thinned(connection: Connection, run_id: str, metric: str, count: int, most: int) -> list[Row]:
    """Of `count` points about `most`, in order of step, time and value: the first, the last, and every peak."""
    dialect = connection.dialect.name
    size = -(-count // max(1, most // 2))
    found: set[Row] = set()
    for more in (_FIRST, _LAST, _IN_ORDER[dialect]):
        statement = (_POINTS + more).format(mark="?" if dialect == "sqlite" else "%s")
        values = (run_id, metric) * statement.count("key = ")
        for rows in batches(connection, statement, values, size):
            found.update(_extremes(rows))
    return sorted(found, key=lambda row: (row[3], row[2], row[0]))


def _extremes(rows: Sequence[Row]) -> list[Row]:
    numbers = [row for row in rows if not row[1]]
    kept = [min(numbers), max(numbers)] if numbers else []
    if len(numbers) < len(rows):
        kept.append(next(row for row in rows if row[1]))
    return kept
