"""Requests that log to a run, as far as they are plain: each field known, of its type and within MLflow's limits.

Of these MLflow has nothing to say but `{}`, or that the run or a parameter is in the way. Whatever else is sent (a
field that is not known here, a number as a text, a name that is too long) goes to MLflow, whose answer it is.
The limits are those of MLflow's `utils/validation.py`.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl

from smalt.tracking.database.schema import ATTEMPT

# One logged number, as MLflow's table has it: key, value, timestamp (ms), run, step, whether it is NaN (value is 0).
Metric = tuple[str, float, int, str, int, bool]

KEY_MOST = 250
PARAM_MOST = 6000
TAG_MOST = 8000
PARAMS_MOST = 100  # in one batch, and as many tags
ENTITIES_MOST = 1000
_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGEST = 1.7976931348623157e308  # stands for infinity in the tables
_SPECIAL = {"NaN": (0.0, True), "Infinity": (_LARGEST, False), "-Infinity": (-_LARGEST, False)}
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_NAME = re.compile(r"[/\w.\- :]+")
_RUN_NAME = "mlflow.runName"  # a tag that names the run, too
_UNUSUAL = re.compile(rb"\\u(0000|[dD][89a-fA-F])|\xed[\xa0-\xbf]")  # NUL, and halves of surrogate pairs, also as bytes

_METRIC = frozenset({"key", "value", "timestamp", "step"})
_PAIR = frozenset({"key", "value"})
_RUN = frozenset({"run_id", "run_uuid"})
_BATCH = frozenset({"run_id", "metrics", "params", "tags"})


@dataclass(frozen=True)
class LogBatch:
    """What one request logs to a run. `workspace` is MLflow's name."""

    workspace: str
    run_id: str
    metrics: list[Metric] = field(default_factory=list[Metric])
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def size(self) -> int:
        return 1 + len(self.metrics) + len(self.params) + len(self.tags)


def is_unusual(body: bytes) -> bool:
    """Whether it holds what JSON can say and MLflow's databases cannot keep."""
    return _UNUSUAL.search(body) is not None


def log_batch(call: str, workspace: str, body: bytes) -> LogBatch | None:
    """The body of `call` (`log-metric`, `log-parameter`, `set-tag`, `log-batch`); None for one that is not plain."""
    if is_unusual(body):
        return None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if content.__class__ is not dict:
        return None
    given = cast("dict[str, Any]", content)
    return _batch(workspace, given) if call == "log-batch" else _one(call, workspace, given)


def run_of_query(query: str) -> str:
    """The run that `runs/get` asks for; '' where the question is not plain."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=False)
    names, values = {name for name, _ in pairs}, {value for _, value in pairs}
    if len(names) != len(pairs) or not names <= _RUN or "run_id" not in names or len(values) != 1:
        return ""
    return _run_id(values.pop()) or ""


def _one(call: str, workspace: str, given: dict[str, Any]) -> LogBatch | None:
    run_id = _run_id(given.get("run_id"))
    if run_id is None or given.get("run_uuid", run_id) != run_id:
        return None
    rest = {name: value for name, value in given.items() if name not in _RUN}
    if call == "log-metric":
        metric = _metric(rest, run_id)
        return LogBatch(workspace, run_id, [metric]) if metric else None
    pairs = _pairs([rest], PARAM_MOST if call == "log-parameter" else TAG_MOST)
    if pairs is None:
        return None
    if call == "log-parameter":
        return LogBatch(workspace, run_id, params=pairs)
    return LogBatch(workspace, run_id, tags=pairs) if _are_only_tags(pairs) else None


def _batch(workspace: str, given: dict[str, Any]) -> LogBatch | None:
    run_id = _run_id(given.get("run_id"))
    listed = [given.get(name, []) for name in ("metrics", "params", "tags")]
    if run_id is None or not given.keys() <= _BATCH or any(one.__class__ is not list for one in listed):
        return None
    logged, params, tags = cast("list[list[Any]]", listed)
    if sum(map(len, listed)) > ENTITIES_MOST or max(len(params), len(tags)) > PARAMS_MOST:
        return None
    metrics: list[Metric] = []
    for one in logged:
        metric = _metric(one, run_id)
        if metric is None:
            return None
        metrics.append(metric)
    read, marked = _pairs(params, PARAM_MOST), _pairs(tags, TAG_MOST)
    if read is None or len(read) != len(params) or marked is None or not _are_only_tags(marked):
        return None
    return LogBatch(workspace, run_id, metrics, read, marked)


def _metric(given: Any, run_id: str) -> Metric | None:
    if given.__class__ is not dict or not given.keys() <= _METRIC:
        return None
    key, value, at, step = given.get("key"), given.get("value"), given.get("timestamp"), given.get("step", 0)
    if key.__class__ is not str or not is_name(key):
        return None
    if at.__class__ is not int or not 0 <= at <= _MOST or step.__class__ is not int or not _LEAST <= step <= _MOST:
        return None
    if value.__class__ is str:
        special = _SPECIAL.get(value)
        return (key, special[0], at, run_id, step, special[1]) if special else None
    if value.__class__ is int and _LEAST <= value <= _MOST:
        value = float(value)
    if value.__class__ is not float or not math.isfinite(value):
        return None
    return key, value, at, run_id, step, False


def _pairs(given: list[Any], most: int) -> dict[str, str] | None:
    """By key; of two with one key the later."""
    pairs: dict[str, str] = {}
    for one in given:
        if one.__class__ is not dict or one.keys() != _PAIR:
            return None
        key, value = one["key"], one["value"]
        if key.__class__ is not str or not is_name(key) or value.__class__ is not str or len(value) > most:
            return None
        pairs[key] = value
    return pairs


def _are_only_tags(tags: Mapping[str, str]) -> bool:
    """Two keys are more than tags: the run's name, and the mark of its creation."""
    return _RUN_NAME not in tags and ATTEMPT not in tags


def _run_id(given: Any) -> str | None:
    return given if given.__class__ is str and _RUN_ID.fullmatch(given) else None


@lru_cache(16_384)
def is_name(name: str) -> bool:
    """Of a metric, a parameter or a tag: a path of a file that is only itself."""
    return (
        len(name) <= KEY_MOST
        and _NAME.fullmatch(name) is not None
        and posixpath.normpath(name) == name
        and name != "."
        and not name.startswith(("..", "/"))
    )
