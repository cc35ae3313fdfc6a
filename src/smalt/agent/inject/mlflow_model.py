"""No-code MLflow models: requests are checked against the signature, scored together, and answered as Azure does.

A request goes one of two ways. *Clean* rows (`tabular.Layout.clean`) of a model that treats each row by itself are put
into one array or frame with those of other waiting requests, predicted at once, and split again. All others go alone
through `mlflow.pyfunc`'s own predict, with its conversions and its errors. The two give the same results, which is
tried when the model is loaded; a batch that fails is done again one by one, so that only the culprit fails.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from pathlib import Path
from typing import Any

from .http1 import Request
from .outcome import InputError, Outcome, ScoringTimeout, error, model_error, plain_value, scored, to_json
from .predictor import Predictor
from .rowwise import find_row_function
from .script import json_object
from .tabular import Layout, Table, read_body, read_table

MAX_REQUESTS = 64
MODEL_FILE = "MLmodel"
SEARCH_DEPTH = 3


def find_model(folder: str) -> str:
    """The folder that holds MLmodel: `folder`, or the one folder below it that does. Raises FileNotFoundError."""
    found: list[str] = []
    for current, folders, files in os.walk(folder):
        if MODEL_FILE in files:
            found.append(current)
            folders.clear()
        if len(Path(current).relative_to(folder).parts) >= SEARCH_DEPTH:
            folders.clear()
    if len(found) == 1 or folder in found:
        return folder if folder in found else found[0]
    what = "no MLmodel file" if not found else f"{len(found)} MLmodel files, in {sorted(found)}"
    raise FileNotFoundError(f"The model's folder {folder} has {what}; a no-code deployment needs exactly one.")


def load_mlflow(folder: str, max_batch_rows: int, logger: logging.Logger) -> MlflowScorer:
    """Loads with the user's own MLflow. Raises what it raises."""
    predictor = Predictor(find_model(folder))
    rows = find_row_function(predictor, logger)
    return MlflowScorer(predictor, rows, max_batch_rows, logger)


class Waiting:
    """One request of a batch; `table` is set while it can be scored with others."""

    __slots__ = ("data", "outcome", "params", "table")

    def __init__(self) -> None:
        self.data: Any = None
        self.params: Any = None
        self.table: Table | None = None
        self.outcome: Outcome | None = None


class MlflowScorer:
    """A loaded model. `rows` predicts clean rows together; None where the model may look at rows together."""

    def __init__(self, predictor: Predictor, rows: Any, max_batch_rows: int, logger: logging.Logger) -> None:
        self._predictor = predictor
        self._layout: Layout | None = predictor.layout
        self._rows = rows
        self._max_rows = max_batch_rows
        self._logger = logger
        self.max_requests = MAX_REQUESTS if rows is not None else 1
        self.once = rows is None  # nothing is known then of what a call does

    def swagger_schemas(self) -> tuple[Any, Any]:
        return self._predictor.swagger_schemas()

    def records(self) -> dict[str, Any]:
        """What `RowRecords` needs to read requests and answers."""
        columns = self._layout and [[one.name, one.kind, one.required] for one in self._layout.columns]
        unnamed = self._layout is not None and self._layout.unnamed
        return {"columns": columns, "outputs": list(self._predictor.output_names), "unnamed": unnamed}

    def score(self, requests: list[Request]) -> list[Outcome]:
        started = time.perf_counter()
        waiting = [self._read(request) for request in requests]
        together: list[Waiting] = []
        size = 0
        for one in waiting:
            if one.table is None:
                continue
            if together and size + len(one.table.rows) > self._max_rows:
                self._predict_together(together, started)
                together, size = [], 0
            together.append(one)
            size += len(one.table.rows)
        if together:
            self._predict_together(together, started)
        return [one.outcome or self._predict_alone(one) for one in waiting]

    def _read(self, request: Request) -> Waiting:
        one = Waiting()
        try:
            if request.method == "OPTIONS":
                one.outcome = Outcome(200, b"", [("Content-Type", "text/html; charset=utf-8")])
            elif request.method != "POST":
                raise InputError("Method not allowed", 405)
            else:
                self._read_post(request, one)
        except InputError as ex:
            one.outcome = error(ex.status, str(ex))
        return one

    def _read_post(self, request: Request, one: Waiting) -> None:
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media not in ("application/json", ""):  # a body without a type is taken for JSON, and judged as such
            json_object(request)  # raises unless it is another JSON type
        key, data, one.params = read_body(request.body)
        if self._layout is None:
            one.data = self._predictor.read_tensors(key, data)
            return
        table = self._layout.fit(read_table(key, data))
        if not table.rows:
            raise InputError(f"{key!r} has no rows.")
        one.data = table
        if self._rows is not None and one.params is None and self._layout.clean(table):
            one.table = table

    def _predict_together(self, batch: list[Waiting], started: float) -> None:
        rows = (
            batch[0].table.rows  # type: ignore[union-attr]
            if len(batch) == 1
            else [row for one in batch for row in one.table.rows]  # type: ignore[union-attr]
        )
        try:
            values = self._rows(rows)
        except ScoringTimeout:
            raise
        except BaseException:
            return  # each alone: the one that cannot be scored gets its own error, the others their results
        if len(values) != len(rows):
            return
        elapsed_ms = (time.perf_counter() - started) * 1000
        at = 0
        for one in batch:
            count = len(one.table.rows)  # type: ignore[union-attr]
            one.outcome = self._answer(values[at : at + count], elapsed_ms)
            at += count

    def _predict_alone(self, one: Waiting) -> Outcome:
        started = time.perf_counter()
        try:
            result = self._predictor.predict(one.data, one.params)
            return self._answer(result, (time.perf_counter() - started) * 1000)
        except ScoringTimeout:
            raise
        except InputError as ex:
            return error(ex.status, str(ex))
        except BaseException as ex:
            self._logger.error(
                "predict() raised an exception\n%s",
                "".join(traceback.format_exception(type(ex), ex, ex.__traceback__)).rstrip(),
            )
            return model_error(f"The model failed: {type(ex).__name__}: {ex}")

    def _answer(self, result: Any, elapsed_ms: float) -> Outcome:
        return scored(to_json(result if isinstance(result, list) else answer_value(result)), elapsed_ms)


def answer_value(result: Any) -> Any:
    """A prediction as Azure's no-code deployments write it: an array as list, a frame or series as records."""
    if hasattr(result, "to_frame"):
        result = result.to_frame()
    if hasattr(result, "columns") and hasattr(result, "to_dict"):
        return result.to_dict(orient="records")
    if hasattr(result, "toarray"):  # sparse
        result = result.toarray()
    return plain_value(result) if hasattr(result, "tolist") else result
