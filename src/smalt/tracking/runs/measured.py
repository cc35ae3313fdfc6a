"""The numbers that runs log: taken over, as they come, into the series that alerts and early endings watch; read from
MLflow's tables, and written there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, select

from smalt.arm.ids import ResourceId
from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into

Record = Callable[[str, str, float], None]  # of which resource, what, how much
_LOGS = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/runs/log-(?:metric|batch|batch-async)")
_NAME_MOST, _TEXT_MOST = 250, 8000
_INFINITE = 1.7e308  # MLflow writes infinity as the greatest number there is


def logs_numbers(rest: str, body: bytes) -> bool:
    """Whether a call below the workspace logs metrics."""
    return _LOGS.fullmatch(rest) is not None and b'"value"' in body


def record_logged(record: Record, workspace: ResourceId, rest: str, body: bytes) -> None:
    """After a call that MLflow did; `rest` is its path below the workspace. A run has its job's name."""
    if logs_numbers(rest, body):
        for run, name, value in logged(body):
            record(workspace.child("jobs", run).key, name, value)


def logged(body: bytes) -> Iterator[tuple[str, str, float]]:
    """(run, metric, value) of `log-metric` and `log-batch`; what is no number cannot be added up and is left out."""
    try:
        said: Any = json.loads(body)
    except ValueError:
        return
    if not isinstance(said, dict):
        return
    document = cast("dict[str, Any]", said)
    run = str(document.get("run_id") or document.get("run_uuid") or "")
    found = document.get("metrics") if isinstance(document.get("metrics"), list) else [document]
    for one in cast("list[dict[str, Any]]", found):
        name, value = str(one.get("key") or "")[:_NAME_MOST], one.get("value")
        if run and name and isinstance(value, (int, float)) and math.isfinite(value):
            yield run, name, float(value)


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
