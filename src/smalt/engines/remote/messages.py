"""What server and node say to each other; JSON, a line for each order.

    node → server   POST channel   Hello               server → node   the answer goes on: one order a line
    node → server   POST reports   [Report, …]         server → node   {"gone": [id, …]}: end these

Orders: {"ensure": TaskSpec, "id", "fence"}, {"stop": id, "grace_s"}, {"remove": id}, and {} so that the line lives. A
task's name in an order is its id; the node knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

PREFIX = "/nodes/v1"
SESSION_HEADER = "x-smalt-session"
HEARTBEAT_S = 10.0  # both ways
SILENT_S = 35.0  # then the line counts as cut
MOST_BYTES = 16 << 20  # of a hello or of reports
Order = Mapping[str, Any]


class Said(BaseModel):
    """Of one task: its `TaskState` as JSON has it, or that it is not there any more."""

    id: str = Field(min_length=1, max_length=512)
    state: dict[str, Any] | None = None


class Hello(BaseModel):
    """`incarnation`: of the node's root. `tasks`: all that it has."""

    incarnation: str = Field(min_length=8, max_length=64)
    version: str = Field(max_length=64)
    cpus: int = Field(ge=1)
    memory_bytes: int = Field(ge=1)
    gpus: int = Field(ge=0)
    isolation: str = Field(max_length=32)
    tasks: list[Said] = []


class Used(BaseModel):
    task: str  # an id
    cpu_s: float
    memory_bytes: int
    gpus: float = 0.0
    gpu_memory_bytes: int = 0


class Reports(BaseModel):
    """What changed, and what the tasks use now (None: not looked)."""

    said: list[Said] = []
    usage: list[Used] | None = None
