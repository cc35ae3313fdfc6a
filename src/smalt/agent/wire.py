"""The messages between the server and the agents: one task, and the state that its agent reports.

Standard library only: an agent starts in milliseconds because it imports nothing else. A task lives in a folder of its
own, `<root>/tasks/<name>/`: `task.json` (the `TaskSpec`, 0600), `places.json` (the `Places`: what its names are on this
node), `state.json` (the `TaskState`, replaced atomically), `lock` (held by the agent with flock for as long as it
lives). `stop.json` is a `StopRequest`: written by the server, which then sends the agent SIGUSR1. On each change of
state the agent sends a `Hint` to the server's datagram socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

from smalt.agent.hint import Hint as Hint
from smalt.agent.kernel_spec import KernelSpec as KernelSpec
from smalt.agent.names import NOWHERE as NOWHERE
from smalt.agent.names import Address as Address
from smalt.agent.names import Ref as Ref
from smalt.agent.parallel_spec import ParallelSpec
from smalt.agent.ranks import MpiSpec, RankSpec, RaySpec
from smalt.agent.server_spec import CollectionSpec as CollectionSpec
from smalt.agent.server_spec import CollectorSpec as CollectorSpec
from smalt.agent.server_spec import ServerSpec as ServerSpec
from smalt.agent.service_spec import ServiceSpec, ServiceState

TASK_FILE = "task.json"
PLACES_FILE = "places.json"
STATE_FILE = "state.json"
LOCK_FILE = "lock"
LISTEN_VARIABLE = "SMALT_LISTEN"
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
STOP_FILE = "stop.json"
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # of a file that is torn, or of another version


class Phase(StrEnum):
    """Where a task is. `EXITED` is final."""

    PREPARING = "preparing"
    RUNNING = "running"
    FINALIZING = "finalizing"
    EXITED = "exited"


class Outcome(StrEnum):
    """Why a task ended."""

    EXITED = "exited"  # the command ended by itself, see `exit_code`
    STOPPED = "stopped"  # the server asked for it
    TIMEOUT = "timeout"  # `timeout_s` was over
    SETUP = "setup"  # an input, an output or the environment could not be prepared, see `error`
    BUILD = "build"  # its node could not build its environment, see `error`
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_DISK = "out-of-disk"
    LOST = "lost"  # the agent vanished without a word


@dataclass(frozen=True)
class InputSpec:
    """One input. A literal has `value`; all others have `source`, or `url` to fetch it from.

    `mode` is Azure's, in lower case: ro_mount, download, direct, eval_mount, eval_download.
    `uri` is what `direct` gives. `named`: a folder, too, is in one of its own, under the name that it has.
    """

    name: str
    type: str = "literal"
    mode: str = "ro_mount"
    value: str = ""
    uri: str = ""
    source: Ref | None = None
    url: str = ""
    named: bool = False


@dataclass(frozen=True)
class OutputSpec:
    """One output: `target` receives it (a folder; a blob for uri_file).

    `mode` is Azure's, in lower case, or append: files are added to a folder, of which nothing else is brought or looked
    at, for what grows with every task that writes there.
    """

    name: str
    type: str = "uri_folder"
    mode: str = "rw_mount"
    uri: str = ""
    target: Ref | None = None


@dataclass(frozen=True)
class Limits:
    """What a node's size allows. `cpu_weight` is relative (1 vCPU = 100); 0 bytes mean no limit.

    - `disk_bytes`: what the task may hold in its own folder; `shm_bytes`: in `/dev/shm`, behind walls.
    - `memory_is_all`: the size has more memory, this machine has not.
    - `more`: a sentence for whom it is too little: which size that is, and what changes it.
    """

    cpu_weight: int = 100
    memory_bytes: int = 0
    disk_bytes: int = 0
    shm_bytes: int = 0
    memory_is_all: bool = False
    more: str = ""


@dataclass(frozen=True)
class Probe:
    """An HTTP GET where the task listens; times in seconds, as in Azure's ProbeSettings."""

    path: str = "/"
    initial_delay_s: float = 0
    period_s: float = 10
    timeout_s: float = 2
    failure_threshold: int = 30
    success_threshold: int = 1


@dataclass(frozen=True)
class WallsSpec:
    """The walls around a task, as the node's engine decides them.

    - `user`: whom the process runs as inside, by number; 0: as whom the agent runs.
    - `home`: its HOME, a folder that outlives the task and belongs to its workspace.
    - `hostname`, `hosts`: the node's name, and those of all nodes of the job; `addresses`: of those on other machines.
    - `readable`: what else of the platform it may read; `shown`: what of this machine, where it is there; `hidden`:
      folders of the platform that are empty inside even where they lie below something that is shown.
    - `gpus`: minor numbers of the GPUs that it may open; None: all.
    - `level`: walls, network (walls, and a network of its own in which there is only the platform, at its own name and
      `port`), or files (Landlock alone).
    """

    level: str = "walls"
    port: int = 0
    user: int = 0
    home: str = ""
    hostname: str = "localhost"
    hosts: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    readable: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    gpus: list[int] | None = None


@dataclass(frozen=True)
class TaskSpec:
    """One process on one node.

    - `node`: the machine on which it runs; empty: the server's own. `build`: what its environment is built from (a
      plan's definition, and the logins of its package indexes), for a machine that has not built it yet; the blobs for
      the `log` of that, and for the `versions` of packages that the machine has (JSON, name to version).
    - `name` is deterministic (resource, attempt, rank): `Engine.ensure` of the same name never starts it twice.
    - `owner` is the resource id to wake when the state changes; `fence` grows with each attempt to act.
    - `command` runs through `bash -c` in a fresh folder that holds a copy of `code`; `${{inputs.x}}`, `${{outputs.y}}`
      and `$[[ ... ]]` (dropped where an input inside is not given) are replaced by the agent.
      `argv`, where given, is run as it is instead; `server` and `parallel` are programs of ours in place of either.
    - `environment` is the key of a built virtual environment, put in front of PATH through an overlay of the task's
      own, so that `pip install` never changes the shared one. Empty: the machine's PATH.
    - `documents`: address at the platform → what is there. Each variable that is such an address becomes one where the
      agent serves the same, for as long as the command runs, whether the platform is there or not. No secrets.
    - `log` receives stdout and stderr, `system_log` what the agent itself has to say. None: files of the task's own.
    - `artifacts`: the folder where what is written to `./outputs` and `./logs` goes (None: nowhere).
    - `log_most_bytes` of the log are kept, its beginning and its last lines; `processes_most` processes
      and threads may run at once, each may have `open_files_most` files open unless it asks for more.
    - `workspace` (ARM id in lower case): whose task it is; empty for the platform's own. `hostname` is the name of its
      node, `hosts` those of all nodes of its job; `addresses`: what to find these by, for nodes that are machines of
      their own; the others are this one. `gpus`: indices of the GPUs that it has; None: all (no size).
    - `walls`: None means that the command runs in the open.
    - `ranks`: several processes instead of one, all behind the same walls; with `mpi` it is mpirun that starts them,
      with `ray` one of them is the node's `ray start`. `services`: to which people come while it runs.
    - `kernels`: of other environments, for the Jupyter that runs in the task's own.
    - `hold_s`: where the command fails its walls stay for so long, so that somebody can look around; 0: not at all.
    - `ready`, for servers: `TaskState.ready` follows it; `live` kills the process when it fails. Where a server listens
      the node decides: the process finds it in the variable `SMALT_LISTEN`, all others in `TaskState.address`.
    """

    name: str
    owner: str
    node: str = ""
    build: dict[str, Any] = field(default_factory=dict)
    fence: int = 1
    command: str = ""
    argv: list[str] = field(default_factory=list)
    server: ServerSpec | None = None
    parallel: ParallelSpec | None = None
    environment: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    code: Ref | None = None
    inputs: list[InputSpec] = field(default_factory=list)
    outputs: list[OutputSpec] = field(default_factory=list)
    log: Ref | None = None
    system_log: Ref | None = None
    artifacts: Ref | None = None
    timeout_s: float = 0
    grace_s: float = 30
    hold_s: float = 0
    limits: Limits = field(default_factory=Limits)
    log_most_bytes: int = 256 << 20
    processes_most: int = 8192
    open_files_most: int = 65_536
    workspace: str = ""
    hostname: str = ""
    hosts: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    gpus: list[int] | None = None
    ready: Probe | None = None
    live: Probe | None = None
    walls: WallsSpec | None = None
    ranks: list[RankSpec] = field(default_factory=list[RankSpec])
    mpi: MpiSpec | None = None
    ray: RaySpec | None = None
    services: list[ServiceSpec] = field(default_factory=list[ServiceSpec])
    kernels: list[KernelSpec] = field(default_factory=list[KernelSpec])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw: dict[str, Any] = json.loads(text)
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        values["inputs"] = [InputSpec(**{**one, "source": _ref(one.get("source"))}) for one in raw.get("inputs", [])]
        values["outputs"] = [OutputSpec(**{**one, "target": _ref(one.get("target"))}) for one in raw.get("outputs", [])]
        values["limits"] = Limits(**raw.get("limits", {}))
        for name in ("code", "log", "system_log", "artifacts"):
            values[name] = _ref(raw.get(name))
        for probe in ("ready", "live"):
            values[probe] = Probe(**raw[probe]) if raw.get(probe) else None
        values["server"] = ServerSpec.read(raw["server"]) if raw.get("server") else None
        values["parallel"] = ParallelSpec(**raw["parallel"]) if raw.get("parallel") else None
        values["walls"] = WallsSpec(**raw["walls"]) if raw.get("walls") else None
        values["ranks"] = [_rank(one) for one in raw.get("ranks", [])]
        values["mpi"] = MpiSpec(**raw["mpi"]) if raw.get("mpi") else None
        values["ray"] = RaySpec(**raw["ray"]) if raw.get("ray") else None
        values["services"] = [ServiceSpec(**one) for one in raw.get("services", [])]
        values["kernels"] = [KernelSpec(**one) for one in raw.get("kernels", [])]
        return cls(**values)

    @property
    def listens(self) -> bool:
        return bool(self.server or self.ready or self.live)

    @property
    def logs(self) -> list[Ref | None]:
        """What its processes write to: a log for each rank, in order, and last that of whoever starts them."""
        own = [] if self.ranks and not self.mpi else [self.log]
        return [*(one.log for one in self.ranks), *own]

    def refs(self) -> set[Ref]:
        """All blobs and folders that the task names."""
        named = {self.code} | {one.source for one in self.inputs}
        named |= {self.server.model} if self.server else set()
        return {one for one in named if one is not None} | self.written()

    def written(self) -> set[Ref]:
        """Those of them that it writes."""
        told = [_ref(self.build.get(name)) for name in ("log", "versions")]
        named = {*self.logs, self.system_log, self.artifacts, *told} | {one.target for one in self.outputs}
        named |= {one.source for one in self.inputs if one.mode == "rw_mount"}
        return {one for one in named if one is not None}


def _rank(raw: dict[str, Any]) -> RankSpec:
    known = {one.name for one in fields(RankSpec)}
    return RankSpec(**{**{key: value for key, value in raw.items() if key in known}, "log": _ref(raw.get("log"))})


def _ref(raw: list[str] | None) -> Ref | None:
    return Ref(*raw) if raw else None


class Head(NamedTuple):
    """Of whom a task is: all that is read of one that a server of any version wrote."""

    name: str
    owner: str

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From the text of a `TaskSpec`."""
        raw = json.loads(text)
        return cls(raw["name"], raw["owner"])


@dataclass(frozen=True)
class Places:
    """What the names of a task are on its node: `files` are blobs and folders, `environment` is a prefix;
    `kernels`: those of its kernels' environments, by their keys.

    `store` is the folder that all of the files are below (empty: anywhere). `address` is where it listens, empty for
    what does not; the folder of a socket is the task's own. `ca_bundle` holds the certificates that a workspace's task
    trusts; empty for the platform's own. The engine writes all this when it starts the task; paths are absolute.
    """

    files: Mapping[Ref, str] = field(default_factory=dict[Ref, str])
    environment: str = ""
    store: str = ""
    address: Address = NOWHERE
    ca_bundle: str = ""
    kernels: Mapping[str, str] = field(default_factory=dict[str, str])

    def path(self, ref: Ref) -> Path:
        return Path(self.files[ref])

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "files": [[*ref, path] for ref, path in self.files.items()]})

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw: dict[str, Any] = json.loads(text)
        files = {Ref(*ref): path for *ref, path in raw.pop("files")}
        return cls(files, **{**raw, "address": Address(raw["address"])})


@dataclass(frozen=True)
class TaskState:
    """What the agent last reported. Times are seconds since the epoch, 0 where it has not come to it yet.

    Of several ranks: `done` once only those are left that serve others, `rank` is the first that failed.
    """

    name: str
    phase: Phase = Phase.PREPARING
    outcome: Outcome | None = None
    exit_code: int | None = None
    error: str = ""  # for people: what went wrong, with the tail of stderr where the command failed
    ready: bool = False
    done: bool = False
    rank: int | None = None
    address: Address = NOWHERE  # where it listens, if it does
    agent_pid: int = 0
    pid: int = 0
    accepted_at: float = 0
    started_at: float = 0  # the user's process began
    ended_at: float = 0
    peak_memory_bytes: int = 0
    held_until: float = 0  # its command has failed, as `error` says, and what is around it stays until then
    services: dict[str, ServiceState] = field(default_factory=dict[str, ServiceState])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        values = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        values["phase"] = Phase(values.get("phase", "preparing"))
        values["outcome"] = Outcome(values["outcome"]) if values.get("outcome") else None
        values["address"] = Address(values.get("address", ""))
        values["services"] = {name: ServiceState.read(one) for name, one in values.get("services", {}).items()}
        return cls(**values)


@dataclass(frozen=True)
class StopRequest:
    """What the server asks of an agent: SIGTERM now, SIGKILL to what is left after `grace_s`."""

    grace_s: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(float(json.loads(text)["grace_s"]))
