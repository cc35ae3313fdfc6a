"""What runs log, written to PostgreSQL, where others write at the same time: MLflow's process, and other servers.

Rows are written in the order of their keys, so that two who write the same ones do not wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from smalt.store.database import Collision
from smalt.tracking.store.plain import Metric

_ACTIVE = (
    "SELECT e.workspace, r.run_uuid FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
    "WHERE r.run_uuid = ANY(%s) AND r.lifecycle_stage = 'active'"
)
_ROWS = "SELECT * FROM unnest(%s::text[], %s::float8[], %s::int8[], %s::text[], %s::int8[], %s::bool[])"
_COLUMNS = "key, value, timestamp, run_uuid, step, is_nan"
_METRIC = f"INSERT INTO metrics ({_COLUMNS}) {_ROWS} ON CONFLICT DO NOTHING"
_LATEST = (
    f"INSERT INTO latest_metrics AS known ({_COLUMNS}) {_ROWS} "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, "
    "step = excluded.step, is_nan = excluded.is_nan WHERE (excluded.step, excluded.timestamp, excluded.value) "
    "> (known.step, known.timestamp, known.value)"
)
_PAIRS = "SELECT %s, key, value FROM unnest(%s::text[], %s::text[]) AS given (key, value)"
_PARAM = f"INSERT INTO params (run_uuid, key, value) {_PAIRS} ON CONFLICT DO NOTHING"
_TAG = (
    f"INSERT INTO tags (run_uuid, key, value) {_PAIRS} ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)


def active(connection: Connection, runs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (workspace, run) that are there and not deleted."""
    found = connection.exec_driver_sql(_ACTIVE, ([run for _, run in runs],))
    return runs & {(row[0], row[1]) for row in found}


def add_metrics(connection: Connection, metrics: Sequence[Metric]) -> None:
    """Those that are not there yet."""
    connection.exec_driver_sql(_METRIC, _columns(sorted(metrics)))


def raise_latest(connection: Connection, metrics: Sequence[Metric]) -> None:
    """Where one is later than what is there. At most one for each run and key."""
    connection.exec_driver_sql(_LATEST, _columns(sorted(metrics, key=lambda one: (one[3], one[0]))))


def params(connection: Connection, run_id: str) -> dict[str, str]:
    found = connection.exec_driver_sql("SELECT key, value FROM params WHERE run_uuid = %s", (run_id,))
    return {row[0]: row[1] for row in found}


def add_params(connection: Connection, run_id: str, values: Mapping[str, str]) -> None:
    """Raises Collision where another one added one of them meanwhile."""
    if connection.exec_driver_sql(_PARAM, _pairs(run_id, values)).rowcount < len(values):
        raise Collision(f"A parameter of run {run_id} was logged meanwhile.")


def set_tags(connection: Connection, run_id: str, values: Mapping[str, str]) -> None:
    connection.exec_driver_sql(_TAG, _pairs(run_id, values))


def _columns(metrics: Sequence[Metric]) -> tuple[Any, ...]:
    return tuple(list(column) for column in zip(*metrics, strict=True))


def _pairs(run_id: str, values: Mapping[str, str]) -> tuple[Any, ...]:
    keys = sorted(values)
    return run_id, keys, [values[key] for key in keys]
