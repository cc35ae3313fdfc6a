"""A Jupyter kernel of another environment than the task's own, as it is asked for; see `kernels.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KernelSpec:
    """`environment` and `tools` are keys of built environments; `tools` has ipykernel, empty where it is in the first.

    `title` is for people; `variables` are those that the environment's definition sets.
    """

    name: str
    title: str
    environment: str
    tools: str = ""
    variables: dict[str, str] = field(default_factory=dict[str, str])


def environments(kernels: Sequence[KernelSpec]) -> set[str]:
    """The keys of all that they need."""
    return {key for one in kernels for key in (one.environment, one.tools) if key}
