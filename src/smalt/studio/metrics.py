"""What a job logged, as charts draw it: from MLflow's tables, so that its process need not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

POINTS_MOST = 1000  # of one line: more than a chart has pixels

Latest = Sequence[tuple[str, float | None, int]]


class Run(Protocol):
    @property
    def run_id(self) -> str: ...
    @property
    def experiment_id(self) -> int: ...


class Measurements(Protocol):
    """`MlflowTracking`'s. `workspace` is the lowered ARM id; raise NotReady while MLflow's database is being made."""

    def run(self, workspace: str, name: str) -> Run | None: ...

    def latest_metrics(self, workspace: str, name: str) -> Latest: ...

    def metric_points(
        self, workspace: str, name: str, metric: str, most: int
    ) -> Sequence[tuple[float | None, int, int]]: ...


def line(measured: Measurements, workspace: str, name: str, metric: str) -> dict[str, Any]:
    """Columns as uPlot takes them: `step`, `time` (seconds since the epoch), `lines` (null: no number)."""
    points = measured.metric_points(workspace, name, metric, POINTS_MOST)
    return {
        "step": [step for _, _, step in points],
        "time": [at / 1000 for _, at, _ in points],
        "lines": {metric: [value for value, _, _ in points]},
    }
