"""Programs of a task to which people come: what is asked for, and what the agent has found of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

STARTING, RUNNING, FAILED = "Starting", "Running", "Failed"


@dataclass(frozen=True)
class ServiceSpec:
    """`port`: where it is to listen; 0: wherever it does.

    `programs`: the first of these command lines whose program the environment has is run beside the command, where it
    has none `missing` says what to do. Without programs it is the command's own affair to listen at `port`; without a
    port either, it is where the command's first process listens.
    """

    name: str
    port: int = 0
    programs: list[list[str]] = field(default_factory=list[list[str]])
    missing: str = ""


@dataclass(frozen=True)
class ServiceState:
    """`port`: where it listens, 0 as long as it does not; `error` is for people, also while it is starting."""

    status: str = STARTING
    port: int = 0
    error: str = ""

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{one.name: raw[one.name] for one in fields(cls) if one.name in raw})
