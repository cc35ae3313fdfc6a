"""What runs logged, read from MLflow's tables, and what the platform logs of a run itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into

_NAME_MOST, _TEXT_MOST = 250, 8000
_INFINITE = 1.7e308  # MLflow writes infinity as the greatest number there is


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


def log_metric(connection: Connection, run_id: str, metric: str, value: float, at_ms: int, step: int) -> None:
    if connection.execute(select(schema.runs.c.run_uuid).where(schema.runs.c.run_uuid == run_id)).first() is None:
        return
    row: dict[str, Any] = {
        "key": metric[:_NAME_MOST], "value": value, "timestamp": at_ms, "run_uuid": run_id, "step": step,
        "is_nan": False,
    }  # fmt: skip
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
