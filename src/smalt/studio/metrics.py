"""What a job logged, as charts draw it: from MLflow's tables, so that its process need not run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from smalt.arm.ports import NotReady
from smalt.arm.threads import Threads
from smalt.studio.platform_api import Refused

Found = TypeVar("Found")
POINTS_MOST = 1000  # of one line: more than a chart has pixels
THREADS = 4  # reads of MLflow's tables at once: other pages and clients have threads of their own

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


@dataclass(frozen=True)
class Logged:
    """The same for pages, which have asked the API whether the session may read the run.

    Raises Refused(503) while MLflow's database is being made.
    """

    measured: Measurements
    threads: Threads = field(default_factory=lambda: Threads(THREADS))

    async def run(self, workspace: str, name: str) -> Run | None:
        return await self._read(self.measured.run, workspace, name)

    async def latest(self, workspace: str, name: str) -> Latest:
        """Nothing while MLflow's database is being made: nobody has logged a number then."""
        try:
            return await self.threads.run(self.measured.latest_metrics, workspace, name)
        except NotReady:
            return ()

    async def line(self, workspace: str, name: str, metric: str) -> dict[str, Any]:
        return await self._read(line, self.measured, workspace, name, metric)

    async def _read(self, call: Callable[..., Found], *given: Any) -> Found:
        try:
            return await self.threads.run(call, *given)
        except NotReady as error:
            raise Refused(503, "ServiceUnavailable", str(error)) from error


def line(measured: Measurements, workspace: str, name: str, metric: str) -> dict[str, Any]:
    """Columns as uPlot takes them: `step`, `time` (seconds since the epoch), `lines` (null: no number)."""
    points = measured.metric_points(workspace, name, metric, POINTS_MOST)
    return {
        "step": [step for _, _, step in points],
        "time": [at / 1000 for _, at, _ in points],
        "lines": {metric: [value for value, _, _ in points]},
    }
