"""What server and node say to each other; JSON, a line for each order.

    node → server   POST channel   Hello               server → node   the answer goes on: one order a line
    node → server   POST reports   [Report, …]         server → node   {"gone": [id, …]}: end these

Orders: {"ensure": TaskSpec, "id", "fence"}, {"stop": id, "grace_s"}, {"remove": id}, and {} so that the line lives. A
task's name in an order is its id; the node knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from smalt.agent.wire import Address, Outcome, Phase, TaskState
from smalt.engines.remote.loopback import loopback_id

PREFIX = "/nodes/v1"
SESSION_HEADER = "x-smalt-session"
SHA256_HEADER = "x-smalt-sha256"  # of an environment that was packed, in hex
HEARTBEAT_S = 10.0  # both ways
SILENT_S = 35.0  # then the line counts as cut
MOST_BYTES = 16 << 20  # of a hello or of reports
Order = Mapping[str, Any]

_MOST_S = 253_402_300_799  # the last second that a date can have
Text = Annotated[str, Field(pattern=r"^[^\x00]*\z")]  # PostgreSQL stores no NUL
Number = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
Bytes = Annotated[int, Field(ge=0, le=1 << 53)]
Time = Annotated[float, Field(ge=0, le=_MOST_S, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


def _address(given: str) -> str:
    """As jobs are told it: it ends up in scripts and in `/etc/hosts`. Raises ValueError for what is no IPv4 address."""
    return str(IPv4Address(given)) if given else ""


class Said(BaseModel):
    """Of one task: its `TaskState` as JSON has it (see `state_of`), or that it is not there any more."""

    id: Text = Field(min_length=1, max_length=512)
    state: Any = None


class Hello(BaseModel):
    """`incarnation`: of the node's root. `address`: where other machines find it (IPv4). `tasks`: all that it has.

    `loopback`: its `loopback_id`; versions before say none.
    """

    incarnation: Text = Field(min_length=8, max_length=64)
    version: Text = Field(max_length=64)
    cpus: int = Field(ge=1, le=1 << 16)
    memory_bytes: int = Field(ge=1, le=1 << 53)
    gpus: int = Field(ge=0, le=1 << 16)
    isolation: Text = Field(max_length=32)
    address: Annotated[str, AfterValidator(_address)] = ""
    loopback: Text = Field("", max_length=128)
    tasks: list[Said] = []

    @property
    def machine(self) -> dict[str, Any]:
        """What it has and is, by the columns of `node`."""
        columns = {"incarnation", "version", "cpus", "memory_bytes", "gpus", "isolation"}
        return {**self.model_dump(include=columns), "address": self.found_at or None}

    @property
    def found_at(self) -> str:
        """Where others find it: an address of loopback leads to the nodes of this server's own machine alone."""
        elsewhere = not self.loopback or self.loopback != loopback_id()
        return "" if self.address and IPv4Address(self.address).is_loopback and elsewhere else self.address


class Used(BaseModel):
    task: Text = Field(max_length=512)  # an id
    cpu_s: Amount
    memory_bytes: Bytes
    gpus: Amount = 0.0
    gpu_memory_bytes: Bytes = 0
    gpu_memory_total_bytes: Bytes = 0
    gpu_watts: Amount = 0.0
    disk: Text = Field("", max_length=4096)
    disk_percent: float = Field(0.0, ge=0, le=100)


class Reports(BaseModel):
    """What changed, and what the tasks use now (None: not looked)."""

    said: list[Said] = []
    usage: list[Used] | None = None


class _State(BaseModel):
    """What a `TaskState` may be; its name is the server's to say. Tasks there have no services."""

    phase: Phase = Phase.PREPARING
    outcome: Outcome | None = None
    exit_code: Number | None = None
    error: str = ""
    ready: bool = False
    done: bool = False
    rank: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    address: Text = Field("", max_length=512)
    agent_pid: Number = 0
    pid: Number = 0
    accepted_at: Time = 0
    started_at: Time = 0
    ended_at: Time = 0
    peak_memory_bytes: Bytes = 0
    held_until: Time = 0


def state_of(said: Said) -> TaskState:
    """Raises ValueError for what is no state."""
    try:
        values = _State.model_validate(said.state)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'state'}: {first['msg']}") from error
    if values.phase is Phase.EXITED and values.outcome is None:
        raise ValueError("outcome: what has exited has one")
    given = dict(values) | {
        "address": Address(values.address),
        "error": values.error.replace("\0", "\N{REPLACEMENT CHARACTER}"),
    }
    return TaskState(said.id, **given)


def lost_state(state: TaskState, why: str, now: float) -> TaskState:
    return replace(state, phase=Phase.EXITED, outcome=Outcome.LOST, error=why, ready=False, ended_at=now)
