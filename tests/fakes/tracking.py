"""Runs and registered models, as MLflow would have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from smalt.arm.ports import ModelVersion, RunChanges, RunSpec, TrackedRun


@dataclass
class FakeTracking:
    runs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def ensure_workspace(self, workspace: str) -> None: ...

    def ensure_run(self, run: RunSpec) -> None:
        begun = {"status": "RUNNING", "experiment": run.experiment, "tags": dict(run.tags)}
        self.runs.setdefault((run.workspace, run.name), begun)

    def end_run(
        self,
        workspace: str,
        name: str,
        status: str,
        ended_at: float,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if run := self.runs.get((workspace, name)):
            run["status"] = status
            run["parameters"] = {**parameters, **run.get("parameters", {})}

    def log_metric(self, workspace: str, name: str, metric: str, value: float, at: float, step: int) -> None:
        logged = self.runs[workspace, name].setdefault("metrics", {}).setdefault(metric, [])
        if value not in logged:
            logged.append(value)

    def metric_series(self, workspace: str, names: Sequence[str], metric: str) -> Mapping[str, Sequence[float]]:
        logged = {name: self.runs.get((workspace, name), {}).get("metrics", {}).get(metric, ()) for name in names}
        return {name: [one for one in values if one == one] for name, values in logged.items()}  # NaN is no value

    def metric_names(self, workspace: str, names: Sequence[str]) -> Sequence[str]:
        return sorted({key for name in names for key in self.runs.get((workspace, name), {}).get("metrics", {})})

    def change_run(self, workspace: str, name: str, changes: RunChanges) -> RunChanges | None:
        run = self.runs.get((workspace, name))
        if run is None:
            return None
        tags = {**run.get("tags", {}), **changes.tags}
        run["tags"] = {key: value for key, value in tags.items() if value is not None}
        if changes.display_name is not None:
            run["display_name"] = changes.display_name
        if changes.hidden is not None:
            run["hidden"] = changes.hidden
        return changes

    def parameters(self, workspace: str, name: str) -> Mapping[str, str]:
        return self.runs.get((workspace, name), {}).get("parameters", {})

    def changed_runs(self, most: int, among: Sequence[str] | None = None) -> Sequence[tuple[int, str]]:
        return []

    def forget_changes(self, numbers: Sequence[int]) -> None: ...

    def read_runs(self, run_ids: Sequence[str]) -> Sequence[TrackedRun]:
        return []

    def remove_run(self, workspace: str, name: str) -> None:
        self.runs.pop((workspace, name), None)

    def run_id(self, workspace: str, name: str) -> str:
        return name

    def remove_workspace(self, workspace: str) -> None:
        self.runs = {key: run for key, run in self.runs.items() if key[0] != workspace}


@dataclass
class FakeModels:
    """What MLflow would show: models with description and tags, and their versions. `broken` is raised by every call."""

    models: dict[tuple[str, str], tuple[str | None, dict[str, str]]] = field(default_factory=dict)
    versions: dict[tuple[str, str, str], ModelVersion] = field(default_factory=dict)
    broken: Exception | None = None

    def ensure_model(self, workspace: str, name: str, description: str | None, tags: Mapping[str, str]) -> None:
        self._check()
        self.models[workspace, name] = (description, dict(tags))

    def ensure_version(self, version: ModelVersion) -> None:
        self._check()
        self.versions[version.workspace, version.name, version.version] = version

    def remove_version(self, workspace: str, name: str, version: str) -> None:
        self._check()
        self.versions.pop((workspace, name, version), None)

    def remove_model(self, workspace: str, name: str) -> None:
        self._check()
        self.models.pop((workspace, name), None)
        self.versions = {key: one for key, one in self.versions.items() if key[:2] != (workspace, name)}

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken
