"""The numbers that runs log, taken over into the series that alerts and early endings watch, as MLflow has them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from smalt.arm.ids import ResourceId

Record = Callable[[str, str, float], None]  # of which resource, what, how much
_LOGS = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/runs/log-(?:metric|batch|batch-async)")
_NAME_MOST = 250


def record_logged(record: Record, workspace: ResourceId, rest: str, body: bytes) -> None:
    """After a call that MLflow did; `rest` is its path below the workspace. A run has its job's name."""
    if _LOGS.fullmatch(rest) and b'"value"' in body:
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
