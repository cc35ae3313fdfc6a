"""Runs as MLflow's answers have them (`Run` in its service.proto), read from its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from smalt.store.quick import execute

Document = dict[str, Any]
# `runs`, as `documents` takes them; `e` are their experiments.
COLUMNS = (
    "r.run_uuid, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time, r.artifact_uri, "
    "r.lifecycle_stage, e.workspace"
)
_AMONG = {"sqlite": "IN (SELECT value FROM json_each(?))", "postgresql": "= ANY(%s)"}
_RUNS = (
    f"SELECT {COLUMNS} FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id WHERE r.run_uuid {{among}}"
)
_METRICS = "SELECT run_uuid, key, value, timestamp, step, is_nan FROM latest_metrics WHERE run_uuid {among}"
_PARAMS = "SELECT run_uuid, key, value FROM params WHERE run_uuid {among}"
_TAGS = "SELECT run_uuid, key, value FROM tags WHERE run_uuid {among}"
_MODELS = (
    "SELECT source_id, source_type, destination_id, step FROM inputs "
    "WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id {among}"
)
_DATASETS = "SELECT destination_id FROM inputs WHERE destination_type = 'RUN' AND destination_id {among}"
_RUN_NAME = "mlflow.runName"


def among(connection: Connection, statement: str, values: Sequence[str | int]) -> Sequence[Sequence[Any]]:
    """The rows of `statement`, whose `{among}` stands for: is one of `values`."""
    dialect = connection.dialect.name
    query = statement.format(among=_AMONG[dialect])
    if dialect == "sqlite":
        return execute(connection, query, (json.dumps(values),))
    return connection.exec_driver_sql(query, (list(values),)).all()


def runs(connection: Connection, run_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """Rows of COLUMNS by the run's id, of all workspaces."""
    return {row[0]: row for row in among(connection, _RUNS, run_ids)}


def documents(connection: Connection, rows: Sequence[Sequence[Any]], models_in: bool = True) -> list[Document | None]:
    """Each of the runs (rows of COLUMNS). None for one that MLflow has to describe: it has data sets, or lacks a field.

    `models_in`: with the models that it used.
    """
    ids = [row[0] for row in rows]
    datasets = {row[0] for row in among(connection, _DATASETS, ids)}
    data: dict[str, Document] = {run: {} for run in ids}
    for run, key, value, at, step, is_nan in among(connection, _METRICS, ids):
        metric = {"key": key, "value": "NaN" if is_nan else float(value), "timestamp": at, "step": step}
        data[run].setdefault("metrics", []).append(metric)
    for name, statement in (("params", _PARAMS), ("tags", _TAGS)):
        for run, key, value in among(connection, statement, ids):
            pair = {"key": key} if value is None else {"key": key, "value": value}
            data[run].setdefault(name, []).append(pair)
    inputs: dict[str, Document] = {run: {} for run in ids}
    outputs: dict[str, Document] = {run: {} for run in ids}
    for run, way, model, step in among(connection, _MODELS, ids):
        if way == "RUN_OUTPUT":
            outputs[run].setdefault("model_outputs", []).append({"model_id": model, "step": step})
        elif models_in:
            inputs[run].setdefault("model_inputs", []).append({"model_id": model})
    return [
        {"info": _info(row, data[row[0]]), "data": data[row[0]], "inputs": inputs[row[0]], "outputs": outputs[row[0]]}
        if row[0] not in datasets and _is_whole(row)
        else None
        for row in rows
    ]


def _is_whole(row: Sequence[Any]) -> bool:
    """Whether all is there that MLflow cannot do without."""
    _, experiment, _, user, status, begun, _, _, stage, _ = row
    return None not in (experiment, user, status, begun, stage)


def _info(row: Sequence[Any], data: Document) -> Document:
    run, experiment, name, user, status, begun, ended, artifacts, stage, _ = row
    tagged = next((tag.get("value") for tag in data.get("tags", ()) if tag["key"] == _RUN_NAME), None)
    info: Document = {
        "run_uuid": run, "experiment_id": str(experiment), "run_name": name or tagged or name, "user_id": user,
        "status": status, "start_time": begun, "end_time": ended or None, "artifact_uri": artifacts or None,
        "lifecycle_stage": stage, "run_id": run,
    }  # fmt: skip
    return {key: value for key, value in info.items() if value is not None}
