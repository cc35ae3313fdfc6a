"""What was decided and found of a job: its row's `status`, typed. Nobody else knows the keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self, cast

from smalt.agent.wire import TaskState
from smalt.store.document import Document, part


@dataclass(frozen=True)
class JobStatus:
    """Changed with `dataclasses.replace`. A field at its default is not in the document.

    - `outputs`: where each output is, by name; `asset_id` once it is registered.
    - `tracked`: the job has a run in the tracking server. `asked_build`: it asked for its environment.
    - `attempt`: the number of the newest, from 1; 0 before the first. `retries`: those that ended without an end of the
      job, by its own retries; preempted ones do not count.
    - `tasks`: the attempt's, by name, written before the first is started; empty: nothing of it is left, or came yet.
    - `nodes`: their numbers; `machines`: their names, where they are machines of their own, `addresses`: where
      these find each other; `ports`: the first of each
      node's block; `gpus`: each node's, as its machine counts them.
    - `services`: what was found of each, by its name, by the number of the node.
    - `again`: why the attempt is followed by another; written before anything of it is tidied away.
    - `held`: its command has failed, and a node is kept: `until` when (seconds since the epoch), and `why`.
    - `ending`: how the job ends (Completed, Failed, Canceled), whatever is asked later; written before the tidying too.
    - `same_as`: the id of a job that does the same work, whose end it waits for (`same_work.py`).
    - `content`: what its inputs held when its last attempt began, by name (`provenance.py`).
    - `decided`: what a job type keeps for itself between its steps.
    - `rest`: what others keep there (the loop's `reason`).
    """

    outputs: Document = field(default_factory=dict[str, Any])
    tracked: bool = False
    asked_build: bool = False
    attempt: int = 0
    retries: int = 0
    tasks: tuple[str, ...] = ()
    nodes: tuple[int, ...] = ()
    machines: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    gpus: tuple[tuple[int, ...], ...] = ()
    services: Document = field(default_factory=dict[str, Any])
    again: str = ""
    held: Document = field(default_factory=dict[str, Any])
    ending: str = ""
    error: Document | None = None
    started_at: float | None = None
    ended_at: float | None = None
    same_as: str = ""
    content: Document = field(default_factory=dict[str, Any])
    decided: Document = field(default_factory=dict[str, Any])
    rest: Document = field(default_factory=dict[str, Any])

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        known = {name: _read(name, document[name]) for name in _NAMES if document.get(name) is not None}
        return cls(**known, rest={name: value for name, value in document.items() if name not in _NAMES})

    def document(self) -> Document:
        own = {name: getattr(self, name) for name in _NAMES}
        return {**self.rest, **{name: _written(value) for name, value in own.items() if value or name == "outputs"}}

    def begun(self, tasks: Iterable[TaskState]) -> Self:
        """With the time at which the first of all its tasks started, and what they say of services."""
        tasks = list(tasks)
        known = [self.started_at] if self.started_at else []
        starts = known + [task.started_at for task in tasks if task.started_at]
        said = {str(self.tasks.index(one.name)): one.services for one in tasks if one.services and one.started_at}
        services = {node: {name: asdict(one) for name, one in each.items()} for node, each in said.items()}
        new = replace(self, services={**self.services, **services}) if services else self
        return replace(new, started_at=min(starts)) if starts else new

    @property
    def older_secret(self) -> str:
        """Of an attempt that an older version began: what its nodes know each other by, then kept here."""
        return str(self.rest.get(_OLDER_SECRET) or "")

    def without_older_secret(self) -> Self:
        """Once that attempt is over."""
        return replace(self, rest={name: value for name, value in self.rest.items() if name != _OLDER_SECRET})

    @staticmethod
    def outputs_of(document: Mapping[str, Any]) -> Document:
        """As `read(document).outputs`: of each row of a list."""
        return part(document, "outputs")

    @staticmethod
    def is_tracked(document: Mapping[str, Any]) -> bool:
        return bool(document.get("tracked"))


_OLDER_SECRET = "secret"
_NAMES = tuple(one.name for one in fields(JobStatus) if one.name != "rest")


def _read(name: str, value: Any) -> Any:
    if name == "gpus":
        return tuple(tuple[int, ...](one) for one in value)
    return tuple[Any, ...](value) if name in ("tasks", "nodes", "machines", "addresses", "ports") else value


def _written(value: Any) -> Any:
    """As JSON has it, so that what was read and written again is the same."""
    return [_written(one) for one in cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value
