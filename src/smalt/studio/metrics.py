"""What jobs logged, as pages show it: from MLflow's tables, so that its process need not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from smalt.arm.errors import ArmError
from smalt.arm.ports import NotReady
from smalt.arm.threads import Threads
from smalt.studio.platform_api import Refused

Found = TypeVar("Found")
POINTS_MOST = 1000  # of one line: more than a chart has pixels
METRICS = 100  # of a job that a page shows
THREADS = 4  # reads of MLflow's tables at once: other pages and clients have threads of their own

Latest = Sequence[tuple[str, float | None, int]]


class Run(Protocol):
    @property
    def run_id(self) -> str: ...
    @property
    def experiment_id(self) -> int: ...


class Values(Protocol):
    """What a job logged last of each metric (None: no number) and parameter; times in seconds since the epoch."""

    @property
    def started(self) -> float | None: ...
    @property
    def ended(self) -> float | None: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...
    @property
    def params(self) -> Mapping[str, str]: ...


class Range(Protocol):
    """Of all that a job logged of a metric."""

    @property
    def least(self) -> float: ...
    @property
    def most(self) -> float: ...
    @property
    def points(self) -> int: ...


class Measurements(Protocol):
    """`RunReadings`'. `workspace` is the lowered ARM id; raise NotReady while MLflow's database is being made."""

    def run(self, workspace: str, name: str) -> Run | None: ...

    def latest_metrics(self, workspace: str, name: str, after: str = "", most: int = METRICS) -> Latest: ...

    def metric_points(
        self, workspace: str, name: str, metric: str, most: int
    ) -> Sequence[tuple[float | None, int, int]]: ...

    def found(
        self, workspace: str, like: str, order: str, archived: bool | None, experiment: str, most: int, offset: int
    ) -> Sequence[str]: ...

    def values(
        self, workspace: str, names: Sequence[str], keys: Sequence[str] | None = None
    ) -> Mapping[str, Values]: ...

    def ranges(
        self, workspace: str, names: Sequence[str], metrics: Sequence[str]
    ) -> Mapping[tuple[str, str], Range]: ...

    def keys(self, workspace: str, names: Sequence[str], most: int) -> tuple[Sequence[str], Sequence[str]]: ...

    def lines(
        self, workspace: str, names: Sequence[str], metric: str, most: int
    ) -> Mapping[str, Sequence[tuple[int, float, float]]]: ...


@dataclass(frozen=True)
class Logged:
    """The same for pages, which have asked the API whether the session may read the run.

    Raises Refused(503) while MLflow's database is being made.
    """

    measured: Measurements
    threads: Threads = field(default_factory=lambda: Threads(THREADS))

    async def run(self, workspace: str, name: str) -> Run | None:
        return await self._read(self.measured.run, workspace, name)

    async def latest(self, workspace: str, name: str, after: str = "") -> tuple[Latest, str]:
        """Of METRICS, by name, those behind `after`; and the last of them, where there are more.

        Nothing while MLflow's database is being made: nobody has logged a number then.
        """
        try:
            found = await self.threads.run(self.measured.latest_metrics, workspace, name, after, METRICS + 1)
        except NotReady:
            return (), ""
        return found[:METRICS], found[METRICS - 1][0] if len(found) > METRICS else ""

    async def line(self, workspace: str, name: str, metric: str) -> dict[str, Any]:
        return await self._read(line, self.measured, workspace, name, metric)

    async def found(
        self, workspace: str, like: str, order: str, archived: bool | None, experiment: str, most: int, offset: int
    ) -> Sequence[str]:
        """Jobs by name. Raises Refused(400) for a filter or an order that cannot be read."""
        return await self._read(self.measured.found, workspace, like, order, archived, experiment, most, offset)

    async def values(
        self, workspace: str, names: Sequence[str], keys: Sequence[str] | None = None
    ) -> Mapping[str, Values]:
        """Of those that have logged something; nothing while MLflow's database is being made."""
        try:
            return await self.threads.run(self.measured.values, workspace, names, keys)
        except NotReady:
            return {}

    async def ranges(
        self, workspace: str, names: Sequence[str], metrics: Sequence[str]
    ) -> Mapping[tuple[str, str], Range]:
        """By job and metric."""
        return await self._read(self.measured.ranges, workspace, names, metrics)

    async def keys(self, workspace: str, names: Sequence[str], most: int) -> tuple[Sequence[str], Sequence[str]]:
        """Metrics, and parameters in which the jobs differ."""
        return await self._read(self.measured.keys, workspace, names, most)

    async def lines(
        self, workspace: str, names: Sequence[str], metric: str, most: int
    ) -> Mapping[str, Sequence[tuple[int, float, float]]]:
        """(step, seconds since the epoch, value) of each job."""
        return await self._read(self.measured.lines, workspace, names, metric, most)

    async def _read(self, call: Callable[..., Found], *given: Any) -> Found:
        try:
            return await self.threads.run(call, *given)
        except NotReady as error:
            raise Refused(503, "ServiceUnavailable", str(error)) from error
        except ArmError as error:
            raise Refused(error.status, error.code, error.message) from error


def line(measured: Measurements, workspace: str, name: str, metric: str) -> dict[str, Any]:
    """Columns as uPlot takes them: `step`, `time` (seconds since the epoch), `lines` (null: no number)."""
    points = measured.metric_points(workspace, name, metric, POINTS_MOST)
    return {
        "step": [step for _, _, step in points],
        "time": [at / 1000 for _, at, _ in points],
        "lines": {metric: [value for value, _, _ in points]},
    }
