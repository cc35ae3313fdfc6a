"""MLflow: runs, and the registry of models that it shares with ARM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol


@dataclass(frozen=True)
class RunSpec:
    """A job as an MLflow run. `workspace` is the lowered ARM id; `artifact_uri` is an https URL."""

    workspace: str
    name: str
    experiment: str
    display_name: str = ""
    user: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    artifact_uri: str = ""
    started_at: float = 0
    parent: str = ""
    description: str = ""


class NotReady(Exception):
    """A part is still starting; try again soon."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow has it. `workspace` is the lowered ARM id; times are seconds, 0 where there is none.

    `job` is the name of the job that it is. `submitted`: the run was begun for a job; others are made by MLflow's
    clients. `parent` is the run that it is nested in, '' where there is none in this workspace.
    """

    run_id: str
    workspace: str
    job: str
    submitted: bool
    experiment: str
    display_name: str
    status: str  # MLflow's
    hidden: bool
    user: str = ""
    parent: str = ""
    started_at: float = 0
    ended_at: float = 0
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class RunChanges:
    """What to change of a run. None, and what is not named, stays as it is; a tag that is None is removed."""

    display_name: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    hidden: bool | None = None


class TrackedRuns(Protocol):
    """The runs of all workspaces. Raises NotReady while MLflow's database is being made."""

    def changed_runs(self, most: int, among: Sequence[str] | None = None) -> Sequence[tuple[int, str]]:
        """(number of the change, run id), oldest first: runs that were made or changed, but for what they measure."""
        ...

    def forget_changes(self, numbers: Sequence[int]) -> None:
        """They are taken over. A run that changed again meanwhile has another number, and stays."""
        ...

    def read_runs(self, run_ids: Sequence[str]) -> Sequence[TrackedRun]:
        """Those that there are."""
        ...

    def change_run(self, workspace: str, name: str, changes: RunChanges) -> RunChanges | None:
        """What was changed; None where the job has no run.

        MLflow logs nothing to a hidden run, so one that runs is not hidden.
        """
        ...

    def parameters(self, workspace: str, name: str) -> Mapping[str, str]:
        """What the run logged as parameters; {} without a run."""
        ...


class Tracking(TrackedRuns, Protocol):
    """MLflow. Raises NotReady while its database is being made."""

    def ensure_workspace(self, workspace: str) -> None: ...

    def ensure_run(self, run: RunSpec) -> None: ...

    def end_run(
        self,
        workspace: str,
        name: str,
        status: str,
        ended_at: float,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`status` is MLflow's: FINISHED, FAILED, KILLED. `parameters` are logged, but for those that the run has."""
        ...

    def log_metric(self, workspace: str, name: str, metric: str, value: float, at: float, step: int) -> None:
        """Again with the same arguments changes nothing. An unknown run is ignored."""
        ...

    def metric_series(self, workspace: str, names: Sequence[str], metric: str) -> Mapping[str, Sequence[float]]:
        """What the runs of these jobs logged of a metric, in order, without what is no finite number, by job."""
        ...

    def metric_names(self, workspace: str, names: Sequence[str]) -> Sequence[str]:
        """The metrics that the runs of these jobs logged, in alphabetical order, at most a hundred."""
        ...

    def remove_run(self, workspace: str, name: str) -> None:
        """The run and all that it logged. Unknown ones are ignored."""
        ...

    def remove_workspace(self, workspace: str) -> None: ...

    def run_id(self, workspace: str, name: str) -> str:
        """The run that a job of this name is: its own name, unless another workspace has a run of that name."""
        ...


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model, as ARM and MLflow both show it. `workspace` is the lowered ARM id, times are seconds.

    `uri` is ARM's `modelUri`. `container` and `path` say where in the workspace's own storage account the files are;
    both are empty where they are elsewhere, or not looked up.
    """

    workspace: str
    name: str
    version: str
    uri: str
    container: str = ""
    path: str = ""
    job: str = ""
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    stage: str = ""
    archived: bool = False
    flavors: Mapping[str, Any] = field(default_factory=dict[str, Any])
    user: str = ""
    created_at: float = 0


class MlflowModels(Protocol):
    """MLflow's model registry, made to show ARM's models.

    Idempotent. Raises NotReady while its database is being made.
    """

    def ensure_model(self, workspace: str, name: str, description: str | None, tags: Mapping[str, str]) -> None: ...

    def ensure_version(self, version: ModelVersion) -> None:
        """A version that is no whole number has no place in MLflow and is left out."""
        ...

    def remove_version(self, workspace: str, name: str, version: str) -> None:
        """Its number is not given out again."""
        ...

    def remove_model(self, workspace: str, name: str) -> None: ...


class ModelRegistry(Protocol):
    """ARM's models, written by what MLflow's clients did. Idempotent; one transaction a call."""

    def register(self, version: ModelVersion, by: str) -> bool:
        """Make the version, or take over what can change of it. False: ARM has it with other files, and keeps them."""
        ...

    def describe(
        self, workspace: str, name: str, description: str | None, tags: Mapping[str, str], by: str
    ) -> None: ...

    def remove(self, workspace: str, name: str, version: str = "") -> None:
        """One version, or without one the whole model. Unknown ones are ignored."""
        ...

    def pending(self, workspace: str, name: str) -> Sequence[ModelVersion]:
        """Versions that MLflow was not told of yet, oldest first, without `container` and `path`."""
        ...

    def spelled(self, workspace: str, name: str) -> str:
        """How ARM writes the name, which it compares without case; '' where there is no such model."""
        ...

    def known(self, workspace: str) -> Set[tuple[str, str]]:
        """(lowered name, version) of all versions that ARM has, or is about to remove from MLflow."""
        ...
