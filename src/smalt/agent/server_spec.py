"""What a task is told where it is a replica of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smalt.agent.names import Ref


@dataclass(frozen=True)
class ServerSpec:
    """An inference server: it serves `model` by `script`, a file of the task's code, or without one as MLflow loads it.

    `deployment` is the name that answers carry; `request_timeout_s` 0 means none. `files`: the SHA-256 that each file
    of the model must have, by its name below it; '' is a model that is one file.
    """

    model: Ref | None = None
    script: str = ""
    deployment: str = ""
    max_concurrent: int = 1
    request_timeout_s: float = 0
    files: Mapping[str, str] = field(default_factory=dict[str, str])
