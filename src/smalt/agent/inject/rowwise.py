"""Which models may be given the rows of several requests at once, and the cheapest way to do it.

Two questions. Does the model treat each row by itself? That is known for the estimators of a few libraries, looked at
down to the last step of a pipeline, and tried with sample rows. And can it be called with a plain array instead of a
frame? An estimator that was fitted with a frame only warns then, so it is called through a shallow copy that has
forgotten the names; the copy must give, for the sample rows, exactly what pyfunc gives.
"""

from __future__ import annotations

import copy
import logging
import random
import time
import warnings
from typing import Any, Callable

from .predictor import Predictor
from .tabular import Layout

ROWWISE_LIBRARIES = ("sklearn", "xgboost", "lightgbm", "catboost")
LOADERS = tuple("mlflow." + name for name in ROWWISE_LIBRARIES)
FUNCTION_LIBRARIES = ("numpy", "scipy")
PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "score_samples", "decision_function")
SAMPLES = 6
SAMPLE_TIME_S = 2.0
TOLERANCE = 1e-9  # relative; matrix products of several rows may round the last bits differently

RowFunction = Callable[[list], Any]


def find_row_function(predictor: Predictor, logger: logging.Logger) -> RowFunction | None:
    """A function from clean rows to a list of predictions, one for each; None where rows cannot be put together."""
    layout = predictor.layout
    if layout is None or not layout.batchable or predictor.has_params or not all(layout.names):
        return None
    estimator = find_estimator(predictor)
    if estimator is None or not is_rowwise(estimator):
        return None
    with_frame = _frame_function(predictor)
    candidates: list[tuple[str, RowFunction]] = [("frame", with_frame)]
    if layout.numeric:
        plain = without_names(estimator)
        call = getattr(plain, predictor.predict_name, None) if plain is not None else None
        if callable(call):
            candidates.insert(0, ("array", _array_function(predictor, call)))
    samples = sample_rows(layout)
    for kind, function in candidates:
        verdict = _agrees(predictor, function, samples)
        if verdict or (verdict is None and kind == "frame"):
            logger.info("requests that wait together are predicted together, as one %s", kind)
            return function
    return None


def find_estimator(predictor: Predictor) -> Any:
    """The estimator inside the pyfunc model, or None where it is not one of a known library."""
    if predictor.loader_module not in LOADERS or predictor.predict_name not in PREDICTIONS:
        return None
    inner = getattr(predictor.model, "_model_impl", None)
    for name in ("sklearn_model", "xgb_model", "lgb_model", "cb_model"):
        inner = getattr(inner, name, inner)
    return inner if hasattr(inner, "get_params") and hasattr(inner, predictor.predict_name) else None


def is_rowwise(estimator: Any) -> bool:
    """Whether the estimator and all that it is made of come from libraries whose predictions are row by row."""
    for part in [estimator, *_parts(estimator)]:
        if type(part).__module__.split(".")[0] not in ROWWISE_LIBRARIES:
            return False
        if any(_is_users(getattr(part, name, None)) for name in ("func", "inverse_func")):
            return False
    return True


def without_names(estimator: Any) -> Any:
    """A shallow copy that was fitted without column names, sharing all that is large; None where that cannot be.

    It is not asked again, with each call, whether it is fitted and what its tags are: both stay as they are."""
    if type(estimator).__module__.split(".")[0] != "sklearn" or hasattr(estimator, "_sklearn_output_config"):
        return None
    plain = copy.copy(estimator)
    plain.__dict__.pop("feature_names_in_", None)
    plain.__dict__["__sklearn_is_fitted__"] = lambda: True
    if hasattr(estimator, "__sklearn_tags__"):  # scikit-learn 1.6
        tags = estimator.__sklearn_tags__()
        plain.__dict__["__sklearn_tags__"] = lambda: tags
    if hasattr(estimator, "steps"):
        steps = []
        for name, step in estimator.steps:
            if step is not None and not isinstance(step, str):
                step = without_names(step)
                if step is None:
                    return None
            steps.append((name, step))
        plain.steps = steps
    return plain


def sample_rows(layout: Layout) -> list[list[Any]]:
    """Rows that the signature allows; none where it has texts, of which the model may know only some."""
    if not all(column.kind in ("double", "float", "integer", "long", "boolean") for column in layout.columns):
        return []
    source = random.Random(0)
    kinds: dict[str, Callable[[], Any]] = {
        "double": lambda: round(source.gauss(0, 10), 3),
        "float": lambda: round(source.gauss(0, 10), 3),
        "boolean": lambda: source.random() < 0.5,
    }
    return [
        [kinds.get(column.kind, lambda: source.randint(0, 3))() for column in layout.columns] for _ in range(SAMPLES)
    ]


def _is_users(function: Any) -> bool:
    if not callable(function) or type(function).__name__ == "ufunc":  # log1p and the like have no module
        return False
    return str(getattr(function, "__module__", "")).split(".")[0] not in FUNCTION_LIBRARIES


def _parts(estimator: Any) -> list[Any]:
    """All estimators inside an estimator: parameters, and what was fitted."""
    parts: dict[int, Any] = {}
    todo = [estimator]
    while todo:
        current = todo.pop()
        values = list(current.get_params(deep=False).values()) if hasattr(current, "get_params") else []
        values += [value for name, value in vars(current).items() if name.endswith("_")]
        while values:
            value = values.pop()
            if isinstance(value, (list, tuple)) and len(value) <= 1000:
                values.extend(value)
            elif hasattr(value, "get_params") and not isinstance(value, type) and id(value) not in parts:
                parts[id(value)] = value
                todo.append(value)
    return list(parts.values())


def _frame_function(predictor: Predictor) -> RowFunction:
    model = predictor.model
    return lambda rows: _listed(model.predict(predictor.typed_frame(rows)))


def _array_function(predictor: Predictor, call: Callable[[Any], Any]) -> RowFunction:
    array = predictor.numpy.array
    assert predictor.layout is not None
    # What a frame of these columns becomes inside an estimator: whole numbers stay so only where all columns are.
    kinds = {column.kind for column in predictor.layout.columns}
    kind = "float32" if kinds == {"float"} else "float64" if kinds & {"double", "float"} else "int64"
    kind = "int32" if kinds == {"integer"} else kind
    # Column by column in memory, as a frame has it: products of matrices then round their last bits alike.
    return lambda rows: _listed(call(array(rows, dtype=kind, order="F")))


def _listed(result: Any) -> list[Any]:
    """One JSON value for each row."""
    if hasattr(result, "to_frame"):
        result = result.to_frame()
    if hasattr(result, "columns") and hasattr(result, "to_dict"):
        return result.to_dict(orient="records")
    return result.tolist()


def _agrees(predictor: Predictor, function: RowFunction, samples: list[list[Any]]) -> bool | None:
    """Whether `function` gives for the samples exactly what pyfunc gives, one by one and all together, and the same
    together as one by one; None where nothing could be tried, because the model refuses such rows."""
    expected, rows = [], []
    end = time.monotonic() + SAMPLE_TIME_S
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for row in samples:
            if time.monotonic() > end and rows:
                break
            try:
                value = _listed(predictor.model.predict(predictor.typed_frame([row])))
            except Exception:
                continue
            before = len(seen)
            try:
                got = function([row])
            except Exception:
                return False
            named = any("feature names" in str(one.message) for one in seen[before:])
            if named or not _same(predictor, got, value, 0.0):
                return False
            rows.append(row)
            expected += value
        if not rows:
            return None
        try:
            together = function(rows)
            exact = _same(predictor, together, _listed(predictor.model.predict(predictor.typed_frame(rows))), 0.0)
            return exact and _same(predictor, together, expected, TOLERANCE)
        except Exception:
            return False


def _same(predictor: Predictor, left: list[Any], right: list[Any], tolerance: float) -> bool:
    if len(left) != len(right):
        return False
    numpy = predictor.numpy
    one, two = numpy.array(left), numpy.array(right)
    if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
        return False
    if one.dtype.kind not in "fc" or tolerance == 0.0:
        return bool(numpy.array_equal(one, two, **({"equal_nan": True} if one.dtype.kind in "fc" else {})))
    return bool(numpy.allclose(one, two, rtol=tolerance, atol=0.0, equal_nan=True))
