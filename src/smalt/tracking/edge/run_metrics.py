"""Azure's metric service, to which the SDK of version 1 logs (`azureml.core.Run.log`): MLflow's metrics in its form.

    POST /metric/v2.0{WS}/runs/{run}/batch    what a run logs; 207 names what is not kept
    POST /metric/v2.0{WS}/runs/{run}/list     the metrics that it has
    POST /metric/v2.0{WS}/runs/{run}/full     all values of one, a page at a time

A scalar or a list is a metric of its name; a row or table is one for each of its columns, `NAME/COLUMN`. Pictures are
uploaded as artifacts before they are logged here, and text is no metric of MLflow's. Read from azureml-core 1.61.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from starlette.responses import JSONResponse, Response

from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.ports import NotReady
from smalt.arm.threads import Threads
from smalt.tracking.address import Address, mlflow_name
from smalt.tracking.runs import logged
from smalt.tracking.runs.measured import Measured
from smalt.tracking.runs.runs import MlflowTracking
from smalt.tracking.store.plain import ENTITIES_MOST, KEY_MOST, LogBatch, Metric, is_name
from smalt.tracking.store.tracking_store import TrackingStore

PAGE = 1000  # values of a metric in one answer
_DIGITS_MOST = 18  # what a database takes for a number
_STEP_MOST = 2**62
_LAST_MS = 253_402_300_799_999  # the end of the year 9999
_TABLE, _ARTIFACT, _SCALAR = "azureml.v1.table", "Artifact", "azureml.v1.scalar"
_NAMES = f"it has up to {KEY_MOST} letters, digits, blanks and '_', '-', '.', ':', '/'"


@dataclass(frozen=True)
class RunMetrics:
    tracking: MlflowTracking
    store: TrackingStore
    measured: Measured
    threads: Threads

    async def respond(self, method: str, address: Address, body: bytes) -> Response:
        """Raises ArmError, NotReady."""
        if method != "POST":
            raise ArmError(405, "MethodNotAllowed", f"{method} is not possible here.", headers={"Allow": "POST"})
        asked, call = _object(body), address.rest.strip("/")
        run = await self.threads.run(self.tracking.run_id, address.workspace.key, address.run)
        if not await self.threads.run(self.tracking.read_runs, [run]):
            raise not_found("Run", address.run)
        if call == "batch":
            return await self._log(address, run, asked)
        if call == "list":
            return JSONResponse(await self.threads.run(self._list, run))
        if call == "full":
            return JSONResponse(await self.threads.run(self._full, address.run, run, asked))
        raise not_found("The metric operation", call)

    async def _log(self, address: Address, run: str, asked: Mapping[str, Any]) -> Response:
        steps = await self.threads.run(self._steps, run)
        read = read_batch(asked, run, steps)
        if len(read.metrics) > ENTITIES_MOST:
            raise invalid(
                f"values: {len(read.metrics)} numbers are given, and at most {ENTITIES_MOST} can be.", "values"
            )
        if read.metrics and not await self.store.log(LogBatch(mlflow_name(address.workspace), run, read.metrics)):
            raise NotReady("MLflow's tables cannot be written now.")
        told = [(key, value, step) for key, value, _, _, step, is_nan in read.metrics if not is_nan]
        self.measured.logged(address.workspace, run, told)
        if not read.refused:
            return JSONResponse({})
        errors = [
            {"metric": {"name": name}, "errorResponse": {"error": {"code": "UserError", "message": message}}}
            for name, message in read.refused
        ]
        return JSONResponse({"errors": errors}, 207)

    def _steps(self, run: str) -> Mapping[str, int]:
        with self.tracking.database.read() as connection:
            return logged.latest_steps(connection, run)

    def _list(self, run: str) -> dict[str, Any]:
        return {"value": [{"metricKey": {"name": name}, "columns": {name: "double"}} for name in self._steps(run)]}

    def _full(self, name: str, run: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        metric, token = str(asked.get("metricName") or ""), asked.get("continuationToken")
        if token is not None and not (str(token).isdecimal() and len(str(token)) <= _DIGITS_MOST):
            raise invalid("continuationToken is none of this service's.", "continuationToken")
        skip = int(token or 0)
        with self.tracking.database.read() as connection:
            rows = logged.history(connection, run, metric, PAGE + 1, skip)
        if not rows and not skip:
            raise not_found("Metric", metric)
        return {
            "dataContainerId": f"dcid.{name}",
            "name": metric,
            "columns": {metric: "double"},
            "properties": {"uxMetricType": _SCALAR},
            "value": [_value(metric, *row) for row in rows[:PAGE]],
            "continuationToken": str(skip + PAGE) if len(rows) > PAGE else None,
        }


@dataclass
class Read:
    """What a batch holds: numbers, and the names of what is not kept, with the reason."""

    metrics: list[Metric] = field(default_factory=list[Metric])
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def read_batch(asked: Mapping[str, Any], run: str, steps: Mapping[str, int]) -> Read:
    """`steps`: the last one of each metric so far. A value without a step has the next one. Raises ArmError(400)."""
    read, last = Read(), dict(steps)
    for number, one in enumerate(_objects(asked.get("values"), "values")):
        name, is_table = str(one.get("name") or ""), _part(one, "properties").get("uxMetricType") == _TABLE
        columns = _part(one, "columns")
        if _ARTIFACT in columns.values():
            continue
        for value in _objects(one.get("value"), f"values.{number}.value"):
            field = f"values.{number}.value"
            at, step = _time(value.get("createdUtc"), f"{field}.createdUtc"), _step(value.get("step"), f"{field}.step")
            for column, given in _part(value, "data").items():
                key = f"{name}/{column}" if is_table else name
                found = _number(given, str(columns.get(column)))
                if found is None:
                    read.refused.append((name, f"'{key}' is text, and a metric is a number: use run.tag for text."))
                elif not is_name(key):
                    read.refused.append((name, f"'{key[:KEY_MOST]}' is no metric's name: {_NAMES}."))
                else:
                    last[key] = min(last.get(key, -1) + 1, _STEP_MOST) if step is None else step
                    read.metrics.append((key, found[0], at, run, last[key], found[1]))
    return read


def _number(given: Any, type_: str) -> tuple[float, bool] | None:
    """The number, and whether it is none (NaN), as MLflow's tables have it; None for text."""
    if isinstance(given, str) and type_.lower() not in ("double", "float"):
        return None
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    if math.isnan(value):
        return 0.0, True
    return (value if math.isfinite(value) else math.copysign(logged.LARGEST, value)), False


def _value(metric: str, value: float | None, at: int, step: int) -> dict[str, Any]:
    """One value of a metric; `at` in milliseconds; a time that is no date is the nearest that is one."""
    written = datetime.fromtimestamp(min(max(at, 0), _LAST_MS) / 1000, UTC).isoformat()
    return {"metricId": str(uuid.uuid4()), "createdUtc": written, "step": step, "data": {metric: _shown(value)}}


def _shown(value: float | None) -> float | str:
    if value is None:
        return "NaN"
    return value if abs(value) < logged.LARGEST else ("Infinity" if value > 0 else "-Infinity")


def _step(given: Any, field: str) -> int | None:
    """Raises ArmError(400)."""
    if given is not None and (given.__class__ is not int or abs(given) >= _STEP_MOST):
        raise invalid(f"{field}: '{str(given)[:80]}' is no step.", field)
    return given


def _time(given: Any, field: str) -> int:
    """Milliseconds. Raises ArmError(400)."""
    try:
        at = datetime.fromisoformat(str(given))
    except ValueError:
        raise invalid(f"{field}: '{str(given)[:80]}' is no time.", field) from None
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        raise invalid("The body is no JSON.", "body") from None
    if not isinstance(found, dict):
        raise invalid("The body is no object.", "body")
    return cast("dict[str, Any]", found)


def _objects(given: Any, field: str) -> Iterator[Mapping[str, Any]]:
    listed = cast("Sequence[Any]", given if isinstance(given, list) else ())
    if not isinstance(given, list | None) or not all(isinstance(one, dict) for one in listed):
        raise invalid(f"{field} is no list of objects.", field)
    yield from listed


def _part(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
