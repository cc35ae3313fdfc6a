"""What runs logged, read from MLflow's tables, and what the platform logs of a run itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into
from smalt.tracking.runs.thinned import thinned

_NAME_MOST, _TEXT_MOST = 250, 8000
_NAMES_MOST = 100
_INFINITE = 1.7e308  # MLflow writes infinity as the greatest number there is
LARGEST = 1.7976931348623157e308  # that number


def series(connection: Connection, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
    """What the runs logged of a metric, in order, by run id."""
    table = schema.metrics
    query = select(table.c.run_uuid, table.c.value).where(
        table.c.run_uuid.in_(run_ids), table.c.key == metric, table.c.is_nan.is_(False)
    )
    found: dict[str, list[float]] = {}
    for run_id, value in connection.execute(query.order_by(table.c.timestamp, table.c.step)):
        if abs(value) < _INFINITE:
            found.setdefault(run_id, []).append(value)
    return found


def names(connection: Connection, run_ids: Sequence[str]) -> list[str]:
    """What the runs logged, in alphabetical order."""
    table = schema.latest_metrics
    query = select(table.c.key).where(table.c.run_uuid.in_(run_ids)).distinct().order_by(table.c.key)
    return list(connection.scalars(query.limit(_NAMES_MOST)))


def latest_steps(connection: Connection, run_id: str) -> dict[str, int]:
    """The last step of each metric that the run has logged."""
    table = schema.latest_metrics
    rows = connection.execute(select(table.c.key, table.c.step).where(table.c.run_uuid == run_id).order_by(table.c.key))
    return {row.key: row.step for row in rows}


def history(
    connection: Connection, run_id: str, metric: str, most: int, skip: int
) -> list[tuple[float | None, int, int]]:
    """(value, milliseconds, step) of what the run logged of a metric, in order; None for what is no number."""
    table = schema.metrics
    query = select(table.c.value, table.c.is_nan, table.c.timestamp, table.c.step).where(
        table.c.run_uuid == run_id, table.c.key == metric
    )
    rows = connection.execute(query.order_by(table.c.step, table.c.timestamp, table.c.value).limit(most).offset(skip))
    return [(None if is_nan else value, at, step) for value, is_nan, at, step in rows]


def latest(connection: Connection, run_id: str, after: str, most: int) -> list[tuple[str, float | None, int]]:
    """(name, value, step) of the last that the run logged of each metric, by name, those behind `after`."""
    table = schema.latest_metrics
    query = select(table.c.key, table.c.value, table.c.is_nan, table.c.step).where(
        table.c.run_uuid == run_id, table.c.key > after
    )
    rows = connection.execute(query.order_by(table.c.key).limit(most))
    return [(name, None if is_nan else value, step) for name, value, is_nan, step in rows]


def drawn(connection: Connection, run_id: str, metric: str, most: int) -> list[tuple[float | None, int, int]]:
    """As `history`, of all that was logged, but about `most`: the first, the last, and every peak are there."""
    table = schema.metrics
    of_metric = (table.c.run_uuid == run_id, table.c.key == metric)
    count = connection.execute(select(func.count()).select_from(table).where(*of_metric)).scalar_one()
    if count <= most:
        return history(connection, run_id, metric, most, 0)
    rows = thinned(connection, run_id, metric, count, most)
    return [(None if is_nan else value, at, step) for value, is_nan, at, step in rows]


def log_metric(connection: Connection, run_id: str, metric: str, value: float, at_ms: int, step: int) -> None:
    if connection.execute(select(schema.runs.c.run_uuid).where(schema.runs.c.run_uuid == run_id)).first() is None:
        return
    row: dict[str, Any] = {
        "key": metric[:_NAME_MOST],
        "value": value,
        "timestamp": at_ms,
        "run_uuid": run_id,
        "step": step,
        "is_nan": False,
    }
    connection.execute(insert_into(connection, schema.metrics).values(row).on_conflict_do_nothing())
    latest = insert_into(connection, schema.latest_metrics).values(row)
    changed = {name: latest.excluded[name] for name in ("value", "timestamp", "step", "is_nan")}
    newer = schema.latest_metrics.c.step <= latest.excluded.step
    connection.execute(latest.on_conflict_do_update(index_elements=["key", "run_uuid"], set_=changed, where=newer))


def log_parameters(connection: Connection, run_id: str, parameters: Mapping[str, str]) -> None:
    """Those that the run has not logged itself: it may have, in another spelling of the same number."""
    rows = [
        {"key": key[:_NAME_MOST], "value": value[:_TEXT_MOST], "run_uuid": run_id} for key, value in parameters.items()
    ]
    if rows:
        connection.execute(insert_into(connection, schema.params).on_conflict_do_nothing(), rows)
