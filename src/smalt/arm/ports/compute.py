"""Where processes run, and the environments that they run in."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from smalt.agent.visit import Visit
from smalt.agent.wire import Ref, TaskSpec, TaskState


@dataclass(frozen=True)
class Capacity:
    cpus: int
    memory_bytes: int
    gpus: int = 0


@dataclass(frozen=True)
class Isolation:
    """What keeps a task from the platform and from other workspaces' tasks.

    `level`: network (walls, and its own network), walls (its own file system, processes, IPC), files (Landlock: weak),
    none (the machine allows nothing, `reason` says why), off.
    """

    level: str
    reason: str = ""


@dataclass(frozen=True)
class Usage:
    """What a task that runs uses: processor time since it began, memory now, a share of GPUs (1: one, all the time).

    `gpu_memory_total_bytes`: of the GPUs that it is on; `gpu_watts`: its share of what they draw; 0: the driver does
    not say. `disk_percent`: how full the file system is that it writes to, which is mounted at `disk`.
    """

    task: str
    owner: str
    cpu_s: float
    memory_bytes: int
    gpus: float = 0.0
    gpu_memory_bytes: int = 0
    gpu_memory_total_bytes: int = 0
    gpu_watts: float = 0.0
    disk: str = ""
    disk_percent: float = 0.0


class Engine(Protocol):
    """Where processes run. All calls are idempotent and return at once; none waits for a process.

    What a task names (blobs, an environment) is found by the engine: nobody above it knows where that is. A task says
    on which machine it runs (`TaskSpec.node`); of all other calls the task's name is enough.
    """

    def capacity(self, node: str = "") -> Capacity:
        """Of the machine of that name, as far as it is known; empty: the server's own."""
        ...

    def isolation(self, node: str = "") -> Isolation: ...

    def silent_s(self, node: str) -> float:
        """For how long nobody has heard of that machine, as far as this server was there to hear; inf: there is none.

        What it runs may go on all the while.
        """
        ...

    def ensure(self, task: TaskSpec) -> None:
        """Start `task` unless a task of this name was ever started.

        A lower fence than one seen is refused (ValueError). Raises ArmError(400) for blobs that it cannot bring to
        where the task runs.
        """
        ...

    def observe(self, name: str) -> TaskState | None:
        """The state, or None if there is no such task. A task whose agent died is EXITED with outcome LOST."""
        ...

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM to the task's process group, SIGKILL after `grace_s`. Unknown and ended tasks are ignored."""
        ...

    def remove(self, name: str) -> None:
        """Kill what is left of the task and take its folder away; its files may go later. Unknown names are ignored."""
        ...

    def usage(self) -> Sequence[Usage]:
        """Of all tasks that run here, as far as it can be seen."""
        ...

    def visit(self, name: str, visit: Visit) -> socket.socket:
        """A line to a process behind the task's walls; what goes over it: `agent/door_session.py`.

        Raises ArmError(400, 409) where nobody can come in, or not now.
        """
        ...

    def reach(self, name: str, port: int) -> socket.socket:
        """A connection to what the task itself listens with at that port. Raises ArmError(400, 409, 503)."""
        ...

    def owner(self, name: str) -> str:
        """Whose task it is (`TaskSpec.owner`), '' for what this machine does not run."""
        ...

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed(owner)` from a thread of the engine's own, soon after a task of that owner changed.

        It has begun to run, has become ready or is no longer, has ended, or one of its services has changed.
        """
        ...


@dataclass(frozen=True)
class NodePlace:
    """Where a provider has the nodes of one compute: its address and secret, a name that nobody else uses there, the
    folder that nodes have on their machines, and how they keep jobs from them (`Isolation.level`, or auto)."""

    url: str
    namespace: str
    folder: str
    isolation: str = "auto"
    token: str = ""


@dataclass(frozen=True)
class WantedNode:
    """What is reserved for a node there, and the token that it dials in with."""

    name: str
    token: str
    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class ProvidedNode:
    """`state`: waiting (for room), starting (where it has its room, for the first time or again), running, dead.

    `why` is for people.
    """

    state: str
    why: str = ""


@dataclass(frozen=True)
class Applied:
    """Whether what was asked for has been done, and what went wrong then."""

    done: bool
    error: str = ""


class NodeProvider(Protocol):
    """A system that has machines, and lets nodes be on them; they dial in as all nodes do. All calls raise ArmError."""

    def apply(self, place: NodePlace, id_: str, wanted: Sequence[WantedNode]) -> Applied:
        """There shall be these nodes, and no others. Idempotent under one `id_`: it is done once, and asked until done.

        A node that is wanted no more ends by itself, and gives its room back, as soon as its token opens nothing.
        """
        ...

    def observe(self, place: NodePlace) -> Mapping[str, ProvidedNode]:
        """All that it knows of there, by name."""
        ...


@dataclass(frozen=True)
class Feed:
    """Credentials that there are for package indexes at and below `target`; `connection` (lowered ARM id) has them."""

    target: str
    connection: str


class Login(NamedTuple):
    username: str
    password: str


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment as a user wrote it; at least one of image and conda_file, or a curated name."""

    name: str = ""  # for messages
    image: str = ""
    conda_file: str = ""  # YAML text
    pip_requirements: str = ""
    curated: str = ""  # e.g. AzureML-sklearn-1.5-ubuntu22.04-py311-cpu, or a registry's environment name
    build_context: bool = False  # a Dockerfile: needs a container engine
    feeds: Sequence[Feed] = ()


@dataclass(frozen=True)
class EnvironmentPlan:
    """A build: `key` is the content's hash and names folder and lock; `summary` is one line for people."""

    key: str
    definition: Mapping[str, Any]
    summary: str = ""
    variables: Mapping[str, str] = field(default_factory=dict[str, str])  # for what runs in it, not for the build

    def document(self) -> dict[str, Any]:
        """As rows keep it, for `EnvironmentPlan(**document)`."""
        kept = {"key": self.key, "definition": dict(self.definition), "summary": self.summary}
        return kept | ({"variables": dict(self.variables)} if self.variables else {})


@dataclass(frozen=True)
class BuiltEnvironment:
    key: str
    notes: Sequence[str] = ()  # what was relaxed, to be shown


class Environments(Protocol):
    """Specification → plan → task that builds it → built. Nothing here waits or touches the network but the task."""

    def plan(self, spec: EnvironmentSpec, serving: bool = False) -> EnvironmentPlan:
        """Pure. `serving` adds what the inference server needs, resolved together with the user's pins.

        Raises ArmError(400) for a specification that cannot be built here, naming the part.
        """
        ...

    def built(self, key: str) -> BuiltEnvironment | None: ...

    def remove(self, key: str) -> None:
        """It is not there any more; its exact versions are kept, for the next build."""
        ...

    def task(
        self, plan: EnvironmentPlan, owner: str, attempt: int, logins: Mapping[str, Login] | None = None
    ) -> TaskSpec:
        """The task that builds `plan`.

        Its log is `log(key)`. `logins` are for the addresses in `plan.definition["feeds"]`.
        """
        ...

    def compiling(self, key: str, owner: str, attempt: int) -> TaskSpec:
        """The task that compiles to bytecode all that was built: those who use it cannot write it down."""
        ...

    def log(self, key: str) -> Ref: ...

    def lock(self, key: str) -> Mapping[str, str] | None:
        """Package → its exact version; None where it is not known here."""
        ...

    def failure(self, key: str) -> str:
        """After a failed build: the cause in one or two lines, naming the package."""
        ...

    def curated(self) -> Mapping[str, Mapping[str, Any]]:
        """The curated environments that we ship: name → {"version", "image", "description", "conda_file", "tags"}."""
        ...
