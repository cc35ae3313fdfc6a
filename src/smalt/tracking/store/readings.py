"""Many runs at once, as pages show them: which are like a filter, and what each has logged, last or over all points.

All are reads of MLflow's tables, bounded by what is asked for; jobs are named as their workspace names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.store.quick import execute
from smalt.tracking.address import mlflow_name
from smalt.tracking.runs.runs import MlflowTracking, Run
from smalt.tracking.runs.thinned import thinned
from smalt.tracking.store.filters import Clause, Order, read_filter, read_order
from smalt.tracking.store.run_documents import among
from smalt.tracking.store.searches import condition, marks, ordering

RUNS_MOST = 1000  # of one question
NEWEST = 10_000  # runs among which a filter looks first: a page of what many are like is found there
_NEWEST = "(SELECT * FROM runs ORDER BY start_time DESC, run_uuid LIMIT ?)"  # of an index (`own_tables.py`)
_TIMES = "SELECT run_uuid, start_time, end_time FROM runs WHERE run_uuid {among}"
_METRICS = "SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE run_uuid {among}"
_PARAMS = "SELECT run_uuid, key, value FROM params WHERE run_uuid {among}"
_METRIC_KEYS = "SELECT DISTINCT key FROM latest_metrics WHERE run_uuid {among}"
_PARAM_KEYS = (  # of those that not all of so many runs have alike
    "SELECT key FROM params WHERE run_uuid {among} GROUP BY key "
    "HAVING count(*) < {key} OR min(value) <> max(value) ORDER BY key"
)
_RANGES = (
    "SELECT run_uuid, key, min(value), max(value), count(*) FROM metrics "
    "WHERE run_uuid {among} AND NOT is_nan AND key IN ({keys}) GROUP BY run_uuid, key"
)
_COUNTS = "SELECT run_uuid, count(*) FROM metrics WHERE run_uuid {among} AND key = {key} GROUP BY run_uuid"
_TOOK = "r.end_time - r.start_time"
_BY_DURATION = {f"duration {way}": (f"({_TOOK}) IS NULL", f"{_TOOK} {way}") for way in ("ASC", "DESC")}
_LINES = (
    "SELECT run_uuid, step, timestamp, value FROM metrics WHERE run_uuid {among} AND key = {key} AND NOT is_nan "
    "ORDER BY run_uuid, step, timestamp, value"
)


@dataclass
class Values:
    """What one run has logged. Times are seconds since the epoch; a metric is the last logged, None: no number."""

    started: float | None = None
    ended: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict[str, float | None])
    params: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Range:
    """Over all points of a metric that are numbers."""

    least: float
    most: float
    points: int


class RunReadings:
    """For the Studio, which has asked the API who may read what. All raise NotReady while the tables are being made."""

    def __init__(self, tracking: MlflowTracking) -> None:
        self._tracking = tracking
        self.latest_metrics = tracking.latest_metrics
        self.metric_points = tracking.metric_points

    def run(self, workspace: str, name: str) -> Run | None:
        return self._tracking.run(workspace, name)

    def found(
        self, workspace: str, like: str, order: str, archived: bool | None, experiment: str, most: int, offset: int
    ) -> Sequence[str]:
        """Names of the jobs whose runs are `like` (a filter as MLflow has it) in `order` (`metrics.auc DESC`, or
        `duration DESC`, which MLflow has not: those that have not ended are the last).

        Raises ArmError(400) for what cannot be read.
        """
        clauses, orders = _clauses(like), _orders("" if order in _BY_DURATION else order)
        with self._tracking.database.read() as connection:
            sqlite = connection.dialect.name == "sqlite"
            joins, columns, values = ordering(orders)
            columns = [*_BY_DURATION[order], *columns] if order in _BY_DURATION else columns
            if sqlite and any(one.sign == "LIKE" for one in clauses):
                execute(connection, "PRAGMA case_sensitive_like = true")

            def among_runs(runs: str, begin: Sequence[Any], each: bool) -> Sequence[Sequence[Any]]:
                where, more = _where(workspace, archived, experiment, clauses, sqlite, each)
                statement = (
                    f"SELECT r.run_uuid FROM {runs} r JOIN experiments e ON e.experiment_id = r.experiment_id{joins} "
                    f"WHERE {' AND '.join(where)} ORDER BY {', '.join(columns)} LIMIT ? OFFSET ?"
                )
                return _rows(connection, statement, [*begin, *values, *more, most, offset])

            rows = among_runs(_NEWEST, [NEWEST], True) if clauses and not order else ()
            if len(rows) < most:
                rows = among_runs("runs", [], False)
        return self._tracking.job_names(workspace, [row[0] for row in rows])

    def values(self, workspace: str, names: Sequence[str], keys: Sequence[str] | None = None) -> Mapping[str, Values]:
        """Of each job that has a run, at most RUNS_MOST: what it logged last; of `keys` alone, where they are given."""
        with self._tracking.database.read() as connection:
            jobs = self._jobs(connection, workspace, names)
            found: dict[str, Values] = {}
            for run, started, ended in among(connection, _TIMES, list(jobs)):
                found[jobs[run]] = Values((started or 0) / 1000 or None, (ended or 0) / 1000 or None)
            for run, key, value, is_nan in _logged(connection, _METRICS, list(jobs), keys):
                found[jobs[run]].metrics[key] = None if is_nan else float(value)
            for run, key, value in _logged(connection, _PARAMS, list(jobs), keys):
                found[jobs[run]].params[key] = value
        return found

    def ranges(self, workspace: str, names: Sequence[str], metrics: Sequence[str]) -> Mapping[tuple[str, str], Range]:
        """Over all that each job logged of the metrics, by job and metric."""
        if not metrics:
            return {}
        with self._tracking.database.read() as connection:
            jobs = self._jobs(connection, workspace, names)
            statement = _RANGES.replace("{keys}", ", ".join(["{key}"] * len(metrics)))
            rows = _among(connection, statement, list(jobs), metrics)
        return {(jobs[run], key): Range(least, most, points) for run, key, least, most, points in rows}

    def keys(self, workspace: str, names: Sequence[str], most: int) -> tuple[Sequence[str], Sequence[str]]:
        """The metrics that any of the jobs has logged, and the parameters in which they differ: so many at most."""
        with self._tracking.database.read() as connection:
            jobs = self._jobs(connection, workspace, names)
            metrics = sorted(row[0] for row in among(connection, _METRIC_KEYS, list(jobs)))
            params = [row[0] for row in _among(connection, _PARAM_KEYS, list(jobs), [len(jobs)])]
        return metrics[:most], params[:most]

    def lines(
        self, workspace: str, names: Sequence[str], metric: str, most: int
    ) -> Mapping[str, Sequence[tuple[int, float, float]]]:
        """(step, seconds since the epoch, value) of each job, in order; about `most` of more, with each peak."""
        with self._tracking.database.read() as connection:
            jobs = self._jobs(connection, workspace, names)
            counts: dict[str, int] = {row[0]: row[1] for row in _among(connection, _COUNTS, list(jobs), [metric])}
            found: dict[str, list[tuple[int, float, float]]] = {}
            short = [run for run, count in counts.items() if count <= most]
            for run, step, at, value in _among(connection, _LINES, short, [metric]):
                found.setdefault(jobs[run], []).append((step, at / 1000, value))
            for run in counts.keys() - set(short):
                points = thinned(connection, run, metric, counts[run], most)
                found[jobs[run]] = [(step, at / 1000, value) for value, is_nan, at, step in points if not is_nan]
        return found

    def _jobs(self, connection: Connection, workspace: str, names: Sequence[str]) -> dict[str, str]:
        """The jobs' names by the ids of their runs."""
        ids = self._tracking.run_ids_in(connection, workspace, names[:RUNS_MOST])
        return {run: name for name, run in ids.items()}


def _logged(
    connection: Connection, statement: str, run_ids: Sequence[str], keys: Sequence[str] | None
) -> Sequence[Sequence[Any]]:
    if keys is None:
        return among(connection, statement, run_ids)
    if not keys:
        return ()
    wanted = f" AND key IN ({', '.join(['{key}'] * len(keys))})"
    return _among(connection, statement + wanted, run_ids, keys)


def _among(
    connection: Connection, statement: str, run_ids: Sequence[str], keys: Sequence[str | int]
) -> Sequence[Sequence[Any]]:
    """As `among`, with `{key}` for each of `keys`, behind it."""
    if connection.dialect.name == "sqlite":
        text = statement.format(among="IN (SELECT value FROM json_each(?))", key="?")
        return execute(connection, text, (json.dumps(run_ids), *keys))
    text = statement.replace("%", "%%").format(among="= ANY(%s)", key="%s")  # a `%` is the driver's
    return connection.exec_driver_sql(text, (list(run_ids), *keys)).all()


def _clauses(like: str) -> Sequence[Clause]:
    found = read_filter(like.strip())
    if found is None:
        raise invalid(
            f"The filter {like[:200]!r} is not one: write metrics.auc > 0.9 AND params.\"batch size\" = '32', or "
            "tags.team ILIKE '%vision%'; numbers for metrics, quoted texts else.",
            "filter",
        )
    return found


def _orders(order: str) -> Sequence[Order]:
    found = read_order(order) if order else None
    if order and found is None:
        raise ArmError(400, "InvalidQueryParameter", f"{order[:200]!r} is no order: metrics.NAME DESC is one.", "order")
    return (found,) if found else ()


def _where(
    workspace: str, archived: bool | None, experiment: str, clauses: Sequence[Clause], sqlite: bool, each: bool
) -> tuple[list[str], list[Any]]:
    where, values = ["e.workspace = ?"], [mlflow_name(workspace)]
    stages = [stage for stage, hidden in (("active", False), ("deleted", True)) if archived in (None, hidden)]
    where.append(f"r.lifecycle_stage IN ({marks(stages)})")
    values += stages
    if experiment:
        where.append("lower(e.name) = lower(?)")
        values.append(experiment)
    for clause in clauses:
        one, compared = condition(clause, sqlite, each)
        where.append(one)
        values += compared
    return where, values


def _rows(connection: Connection, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """`statement` has `?` for each value."""
    if connection.dialect.name == "sqlite":
        return execute(connection, statement, values)
    return connection.exec_driver_sql(statement.replace("?", "%s"), tuple(values)).all()
