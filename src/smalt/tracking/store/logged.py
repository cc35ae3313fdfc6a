"""One transaction in which runs log: MLflow's rules for what is kept, and what is left to MLflow to refuse.

A metric is a row for each value, time and step, once; the latest is the one with the greatest step, then time, then
value, and of equal ones the first. A parameter never changes. Nothing is written of a batch that MLflow would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from smalt.tracking.database.schema import REVISION
from smalt.tracking.store import logged_postgresql, logged_sqlite
from smalt.tracking.store.plain import LogBatch, Metric

_REVISION = "SELECT version_num FROM alembic_version"


def knows_schema(connection: Connection) -> bool:
    """Whether MLflow's tables are of the version that all this was written for."""
    return [row[0] for row in connection.exec_driver_sql(_REVISION)] == [REVISION]


def log(connection: Connection, batches: Sequence[LogBatch]) -> list[bool]:
    """Which of them were logged, in their order. The others are MLflow's to answer."""
    if not knows_schema(connection):
        return [False] * len(batches)
    rows = logged_sqlite if connection.dialect.name == "sqlite" else logged_postgresql
    active = rows.active(connection, {(one.workspace, one.run_id) for one in batches})
    logged: list[bool] = []
    metrics: list[Metric] = []
    for one in batches:
        known = rows.params(connection, one.run_id) if one.params else {}
        fits = (one.workspace, one.run_id) in active and all(
            known.get(key, value) == value for key, value in one.params.items()
        )
        logged.append(fits)
        if not fits:
            continue
        if new := {key: value for key, value in one.params.items() if key not in known}:
            rows.add_params(connection, one.run_id, new)
        if one.tags:
            rows.set_tags(connection, one.run_id, one.tags)
        metrics += one.metrics
    if metrics:
        rows.add_metrics(connection, metrics)
        rows.raise_latest(connection, _latest(metrics))
    return logged


def _latest(metrics: Sequence[Metric]) -> list[Metric]:
    """Of each run and key the greatest by step, time and value; of equal ones the first."""
    latest: dict[tuple[str, str], Metric] = {}
    for one in metrics:
        key, value, at, run, step, _ = one
        before = latest.get((run, key))
        if before is None or (step, at, value) > (before[4], before[2], before[1]):
            latest[run, key] = one
    return list(latest.values())
