"""What runs log, written to SQLite. There is one writer, so what is read here is what is written over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from smalt.store.quick import execute, execute_many
from smalt.tracking.store.plain import Metric

_ACTIVE = (
    "SELECT 1 FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
    "WHERE r.run_uuid = ? AND e.workspace = ? AND r.lifecycle_stage = 'active'"
)
_COLUMNS = "key, value, timestamp, run_uuid, step, is_nan"
_METRIC = f"INSERT OR IGNORE INTO metrics ({_COLUMNS}) VALUES "
_LATEST = f"INSERT INTO latest_metrics ({_COLUMNS}) VALUES "
_IF_LATER = (
    " ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, "
    "step = excluded.step, is_nan = excluded.is_nan "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"
)
_ROW = "(?, ?, ?, ?, ?, ?)"
_AT_ONCE = (100, 10, 1)
_PARAM = "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)"
_TAG = (
    "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)


def active(connection: Connection, runs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the (workspace, run) that are there and not deleted."""
    return {(workspace, run) for workspace, run in runs if execute(connection, _ACTIVE, (run, workspace))}


def add_metrics(connection: Connection, metrics: Sequence[Metric]) -> None:
    """Those that are not there yet."""
    _insert(connection, _METRIC, metrics)


def raise_latest(connection: Connection, metrics: Sequence[Metric]) -> None:
    """Where one is later than what is there. At most one for each run and key."""
    _insert(connection, _LATEST, metrics, _IF_LATER)


def params(connection: Connection, run_id: str) -> dict[str, str]:
    return dict(execute(connection, "SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)))


def add_params(connection: Connection, run_id: str, values: Mapping[str, str]) -> None:
    execute_many(connection, _PARAM, [(run_id, key, value) for key, value in values.items()])


def set_tags(connection: Connection, run_id: str, values: Mapping[str, str]) -> None:
    execute_many(connection, _TAG, [(run_id, key, value) for key, value in values.items()])


def _insert(connection: Connection, begin: str, metrics: Sequence[Metric], end: str = "") -> None:
    """Many rows in one statement: between two the interpreter's lock goes to whoever wants it, and comes back late.

    Of few lengths, so that the driver has them compiled.
    """
    at = 0
    for rows in _AT_ONCE:
        while len(metrics) - at >= rows:
            values = [value for one in metrics[at : at + rows] for value in one]
            execute(connection, begin + ", ".join([_ROW] * rows) + end, values)
            at += rows
