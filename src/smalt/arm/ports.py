"""What kinds need from the rest of the platform, as Protocols; `app.py` plugs the implementations in.

Each has a contract suite in `tests/contract/` that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from smalt.agent.wire import TaskSpec, TaskState


@dataclass(frozen=True)
class Capacity:
    cpus: int
    memory_bytes: int
    gpus: int = 0


class Engine(Protocol):
    """Where processes run. All calls are idempotent and return at once; none waits for a process."""

    def capacity(self) -> Capacity: ...

    def ensure(self, task: TaskSpec) -> None:
        """Start `task` unless a task of this name was ever started.

        A lower fence than one seen is refused (ValueError).
        """
        ...

    def observe(self, name: str) -> TaskState | None:
        """The state, or None if there is no such task. A task whose agent died is EXITED with outcome LOST."""
        ...

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM to the task's process group, SIGKILL after `grace_s`. Unknown and ended tasks are ignored."""
        ...

    def remove(self, name: str) -> None:
        """Kill what is left of the task and delete its folder. Unknown names are ignored."""
        ...

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed(owner)` from a thread of the engine's own, soon after a task of that owner changed.

        It has begun to run, has become ready or is no longer, or has ended.
        """
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
    prefix: Path  # prefix/bin/python
    lock: Path  # requirements with exact versions
    notes: Sequence[str] = ()  # what was relaxed, to be shown


class Environments(Protocol):
    """Specification → plan → task that builds it → built. Nothing here waits or touches the network but the task."""

    def plan(self, spec: EnvironmentSpec, serving: bool = False) -> EnvironmentPlan:
        """Pure. `serving` adds what the inference server needs, resolved together with the user's pins.

        Raises ArmError(400) for a specification that cannot be built here, naming the part.
        """
        ...

    def built(self, key: str) -> BuiltEnvironment | None: ...

    def task(
        self, plan: EnvironmentPlan, owner: str, attempt: int, logins: Mapping[str, Login] | None = None
    ) -> TaskSpec:
        """The task that builds `plan`.

        Its log is `log(key)`. `logins` are for the addresses in `plan.definition["feeds"]`.
        """
        ...

    def log(self, key: str) -> Path: ...

    def failure(self, key: str) -> str:
        """After a failed build: the cause in one or two lines, naming the package."""
        ...

    def curated(self) -> Mapping[str, Mapping[str, Any]]:
        """The curated environments that we ship: name → {"version", "image", "description", "conda_file", "tags"}."""
        ...


class Blobs(Protocol):
    """Storage accounts and what kinds do with blobs. Paths are `account`, `container`, blob name."""

    def ensure_account(self, account: str) -> str:
        """Create it where missing; returns its first key (base64)."""
        ...

    def ensure_container(self, account: str, container: str) -> None: ...

    def path(self, account: str, container: str, blob: str = "") -> Path:
        """The file or folder that a blob or prefix is, for tasks on this machine.

        Raises ArmError(400) if it climbs out.
        """
        ...

    def sas(self, account: str, permissions: str, lifetime_s: float, container: str = "", blob: str = "") -> str:
        """A SAS query string (no `?`): of the account, of one container, or of one blob."""
        ...

    def list(self, account: str, container: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Names and sizes below `prefix`, in order."""
        ...

    def remove(self, account: str, container: str = "", prefix: str = "") -> None:
        """What is below `prefix`; without a container the whole account."""
        ...


@dataclass(frozen=True)
class AccountKey:
    """One of a storage account's two keys: `name` is key1 or key2, `value` base64."""

    name: str
    value: str
    made_at: float


class AccountKeys(Protocol):
    def of(self, account: str) -> tuple[AccountKey, AccountKey] | None:
        """key1 and key2; None if there is no such account."""
        ...

    def regenerate(self, account: str, name: str = "") -> AccountKey:
        """A new key of this name, without one of the older; what the old one signed is refused from now on.

        Raises ArmError: 400 for another name than key1 or key2, 404.
        """
        ...


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

    def end_run(self, workspace: str, name: str, status: str, ended_at: float) -> None:
        """`status` is MLflow's: FINISHED, FAILED, KILLED."""
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


@dataclass(frozen=True)
class DeploymentRoute:
    """Where one deployment's replicas listen (unix sockets), and what a request may take."""

    name: str
    sockets: Sequence[str]
    timeout_s: float = 5.0
    max_concurrent: int = 1  # for each replica
    max_queue_wait_s: float = 0.5


@dataclass(frozen=True)
class EndpointRoute:
    """One endpoint: `traffic` and `mirror` in percent by deployment name; `keys` that open it, or `jwt_audience`.

    `jwt_audience` may be several, with spaces between. `workspace` (lowered ARM id): a token that is limited to
    something else does not open the endpoint. Nor does one of the identities `ended` (object ids).
    """

    name: str
    keys: Sequence[str]
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]
    deployments: Sequence[DeploymentRoute]
    jwt_audience: str = ""
    workspace: str = ""
    ended: Sequence[str] = ()


class Gateway(Protocol):
    def apply(self, endpoints: Sequence[EndpointRoute]) -> str:
        """Make this the whole desired configuration; returns its version. Writes nothing where nothing changed."""
        ...

    def change(self, endpoints: Mapping[str, EndpointRoute | None]) -> str:
        """As `apply`, for the endpoints of these names alone: None takes one away. All others stay as they are.

        Raises LookupError where it is not known what they are: then `apply` all.
        """
        ...

    def in_force(self, version: str) -> bool:
        """Whether the proxy has taken this version (or a later one) over, and its clusters are warm."""
        ...


@dataclass(frozen=True)
class Principal:
    """Who is asking. `scope` limits it to a resource (lowered ARM id) and what is below; empty: everything."""

    oid: str
    name: str
    kind: str  # owner, servicePrincipal, managedIdentity, job, endpoint
    tenant: str
    client_id: str = ""
    scope: str = ""


class Grants(Protocol):
    """What principals may do where, as far as lists ask: each shows what its reader may read."""

    def reach(self, principal: Principal, action: str) -> Sequence[str] | None:
        """Ids at and below which `principal` may do `action` (ARM's: provider/type/read). None: everywhere."""
        ...


class Tokens(Protocol):
    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str: ...

    def verify(self, token: str, audiences: Sequence[str]) -> Principal:
        """Raises ArmError(401): signature, algorithm, issuer, audience, expiry, not-before."""
        ...


class IdentityHeaders(Protocol):
    def mint(self, principal: Principal, lifetime_s: float) -> str:
        """What a process sends to the managed-identity endpoint as `X-IDENTITY-HEADER` to be `principal` there."""
        ...
