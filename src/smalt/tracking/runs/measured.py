"""The numbers that runs log, told to whoever counts them or waits for them: the one place, whoever wrote them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from smalt.arm.ids import ResourceId

Record = Callable[[str, Sequence[tuple[str, float]]], None]  # of which resource: (what, how much)
# Of which workspace (its key), which run, what: (metric, value, step). Called once for each request, after it was
# written, on the event loop of the server that the client asked: it must not block.
Told = Callable[[str, str, Sequence[tuple[str, float, int]]], None]
_LOGS = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/runs/log-(?:metric|batch|batch-async)")
_NAME_MOST = 250
_LARGEST = 1.7976931348623157e308  # stands for infinity in MLflow's tables


def nobody(workspace: str, run: str, metrics: Sequence[tuple[str, float, int]]) -> None:
    """A `Told` to whom it is all the same."""


@dataclass(frozen=True)
class Measured:
    """`record` adds numbers up in series, under the job that a run is; `told` hears that they were logged.

    What is no number is left out: it cannot be added up.
    """

    record: Record
    told: Told = nobody

    def logged(self, workspace: ResourceId, run: str, metrics: Sequence[tuple[str, float, int]]) -> None:
        """After these were written."""
        finite = [one for one in metrics if abs(one[1]) < _LARGEST]  # NaN is not less
        if not finite:
            return
        job = workspace.child("jobs", run).key
        self.record(job, [(name, value) for name, value, _ in finite])
        self.told(workspace.key, run, finite)

    def asked(self, workspace: ResourceId, rest: str, body: bytes) -> None:
        """After MLflow did a call; `rest` is its path below the workspace."""
        if _LOGS.fullmatch(rest) and b'"value"' in body:
            run, metrics = _metrics(body)
            if run:
                self.logged(workspace, run, metrics)


def _metrics(body: bytes) -> tuple[str, Sequence[tuple[str, float, int]]]:
    """The run of `log-metric` and `log-batch`, and its (metric, value, step)."""
    try:
        said: Any = json.loads(body)
    except ValueError:
        return "", ()
    if not isinstance(said, dict):
        return "", ()
    document = cast("dict[str, Any]", said)
    run = str(document.get("run_id") or document.get("run_uuid") or "")
    found = document.get("metrics") if isinstance(document.get("metrics"), list) else [document]
    metrics: list[tuple[str, float, int]] = []
    for one in cast("list[dict[str, Any]]", found):
        name, value = str(one.get("key") or "")[:_NAME_MOST], one.get("value")
        if name and isinstance(value, (int, float)) and math.isfinite(value):
            step = one.get("step")
            metrics.append((name, float(value), step if isinstance(step, int) else 0))
    return run, metrics
