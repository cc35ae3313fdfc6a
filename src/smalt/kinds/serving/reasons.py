"""What is said of instances that do not come up, or not yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smalt.agent.wire import Outcome, TaskState
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.serving import deployment_logs, hosting
from smalt.store.resources import Row


@dataclass(frozen=True)
class Waiting:
    """How many instances cannot be started yet, and what for; `why`: what keeps one that runs from being ready."""

    count: int
    what: str
    why: str = ""


def waiting(platform: Platform, row: Row, count: int, observed: Iterable[TaskState | None]) -> Waiting:
    what = hosting.lacks(platform, row) if count and hosting.compute_of(row) else "GPUs that others have"
    return Waiting(count, what, next((one.error for one in observed if one and one.error), ""))


def starting(names: Sequence[str], lacking: Waiting) -> str:
    if not lacking.count:
        return f"{len(names)} instances start" + (f". {lacking.why}" if lacking.why else "")
    return f"{lacking.count} of {len(names)} instances wait for {lacking.what}"


def slow(platform: Platform, names: Sequence[str], ready: Sequence[str], lacking: Waiting, after_s: float) -> Document:
    """With the end of the log of one that runs all the time, as while its `init()` hangs."""
    why = f"{lacking.count} of them waited for {lacking.what}" if lacking.count else lacking.why or "see get_logs"
    late = f"{len(names) - len(ready)} of {len(names)} instances were not ready after {after_s:.0f} s"
    message = f"{late}; {why.removesuffix('.')}."
    said = "" if lacking.count else deployment_logs.end(platform, next(name for name in names if name not in ready))
    return {"code": "DeploymentTimeout", "message": "\n".join(filter(None, (message, said)))}


def crash(state: TaskState | None) -> Document:
    if state and state.outcome is Outcome.BUILD:
        return {"code": "EnvironmentBuildFailed", "message": state.error}
    message = state.error if state and state.error else "The scoring process ended before it was ready."
    return {"code": "ScoringProcessCrashed", "message": f"The deployment did not come up. {message}"}
