"""What is said of instances that do not come up, or not yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smalt.agent.wire import TaskState
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.serving import hosting
from smalt.store.resources import Row


@dataclass(frozen=True)
class Waiting:
    """How many instances cannot be started yet, and what for."""

    count: int
    what: str


def waiting(platform: Platform, row: Row, count: int) -> Waiting:
    what = "GPUs that others have"
    return Waiting(count, hosting.lacks(platform, row) if count and hosting.compute_of(row) else what)


def starting(names: Sequence[str], lacking: Waiting) -> str:
    if not lacking.count:
        return f"{len(names)} instances start"
    return f"{lacking.count} of {len(names)} instances wait for {lacking.what}"


def slow(names: Sequence[str], ready: Sequence[str], lacking: Waiting, after_s: float) -> Document:
    why = f"{lacking.count} of them waited for {lacking.what}" if lacking.count else "see get_logs"
    message = f"{len(names) - len(ready)} of {len(names)} instances were not ready after {after_s:.0f} s; {why}."
    return {"code": "DeploymentTimeout", "message": message}


def crash(state: TaskState | None) -> Document:
    message = state.error if state and state.error else "The scoring process ended before it was ready."
    return {"code": "ScoringProcessCrashed", "message": f"The deployment did not come up. {message}"}
