"""Runs as MLflow's answers have them (`Run` in its service.proto), read from its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
_OF_RUNS = (
    "FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id {joined}"
    "WHERE i.destination_type = 'RUN' AND i.destination_id {among}"
)
_DATASETS = (
    "SELECT i.destination_id, d.dataset_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "
    "d.dataset_schema, d.dataset_profile, t.name, t.value "
    + _OF_RUNS.replace("{joined}", "LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid ")
)
_SIZE = (
    "SELECT coalesce(sum(length(d.dataset_source) + coalesce(length(d.dataset_schema), 0) "
    "+ coalesce(length(d.dataset_profile), 0)), 0) " + _OF_RUNS.replace("{joined}", "")
)
_DATASETS_MOST = 8 << 20  # characters of what describes data sets, at once
_ROWS_MOST = 50_000  # of each table, at once
_RUN_NAME = "mlflow.runName"


def among(connection: Connection, statement: str, values: Sequence[str | int]) -> Sequence[Sequence[Any]]:
    """The rows of `statement`, whose `{among}` stands for: is one of `values`. Not all, where there are too many."""
    dialect = connection.dialect.name
    query = f"{statement.format(among=_AMONG[dialect])} LIMIT {_ROWS_MOST + 1}"
    if dialect == "sqlite":
        return execute(connection, query, (json.dumps(values),))
    return connection.exec_driver_sql(query, (list(values),)).all()


def runs(connection: Connection, run_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """Rows of COLUMNS by the run's id, of all workspaces."""
    return {row[0]: row for row in among(connection, _RUNS, run_ids)}


def documents(connection: Connection, rows: Sequence[Sequence[Any]], models_in: bool = True) -> list[Document | None]:
    """Each of the runs (rows of COLUMNS). `models_in`: with the models that it used.

    None for one that MLflow has to describe, because it lacks a field; for all where they hold too much.
    """
    ids = [row[0] for row in rows]
    described = int(among(connection, _SIZE, ids)[0][0]) if ids else 0
    if described > _DATASETS_MOST:
        return [None] * len(rows)
    datasets = among(connection, _DATASETS, ids) if described else ()
    metrics, params, tags, models = (among(connection, one, ids) for one in (_METRICS, _PARAMS, _TAGS, _MODELS))
    if max(map(len, (datasets, metrics, params, tags, models))) > _ROWS_MOST:
        return [None] * len(rows)
    data: dict[str, Document] = {run: {} for run in ids}
    for run, key, value, at, step, is_nan in metrics:
        metric = {"key": key, "value": "NaN" if is_nan else float(value), "timestamp": at, "step": step}
        data[run].setdefault("metrics", []).append(metric)
    for name, pairs in (("params", params), ("tags", tags)):
        for run, key, value in pairs:
            pair = {"key": key} if value is None else {"key": key, "value": value}
            data[run].setdefault(name, []).append(pair)
    inputs: dict[str, Document] = {run: {} for run in ids}
    outputs: dict[str, Document] = {run: {} for run in ids}
    for run, way, model, step in models:
        if way == "RUN_OUTPUT":
            outputs[run].setdefault("model_outputs", []).append({"model_id": model, "step": step})
        elif models_in:
            inputs[run].setdefault("model_inputs", []).append({"model_id": model})
    for run, dataset in _datasets(datasets):
        inputs[run].setdefault("dataset_inputs", []).append(dataset)
    return [
        {"info": _info(row, data[row[0]]), "data": data[row[0]], "inputs": inputs[row[0]], "outputs": outputs[row[0]]}
        if _is_whole(row)
        else None
        for row in rows
    ]


def _datasets(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Document]]:
    """Each data set that one of the runs used, with what was said of its use. `rows` are those of _DATASETS."""
    found: dict[tuple[str, str], Document] = {}
    for run, uuid, name, digest, kind, source, columns, profile, key, value in rows:
        if (run, uuid) not in found:
            told = {"name": name, "digest": digest, "source_type": kind, "source": source}
            more = {"schema": columns, "profile": profile}
            found[run, uuid] = {"dataset": told | {key: text for key, text in more.items() if text}}
        if key is not None:
            found[run, uuid].setdefault("tags", []).append({"key": key, "value": value})
    return ((run, document) for (run, _), document in found.items())


def _is_whole(row: Sequence[Any]) -> bool:
    """Whether all is there that MLflow cannot do without."""
    _, experiment, _, user, status, begun, _, _, stage, _ = row
    return None not in (experiment, user, status, begun, stage)


def _info(row: Sequence[Any], data: Document) -> Document:
    run, experiment, name, user, status, begun, ended, artifacts, stage, _ = row
    tagged = next((tag.get("value") for tag in data.get("tags", ()) if tag["key"] == _RUN_NAME), None)
    info: Document = {
        "run_uuid": run,
        "experiment_id": str(experiment),
        "run_name": name or tagged or name,
        "user_id": user,
        "status": status,
        "start_time": begun,
        "end_time": ended or None,
        "artifact_uri": artifacts or None,
        "lifecycle_stage": stage,
        "run_id": run,
    }
    return {key: value for key, value in info.items() if value is not None}
