"""What was given to machines, and what they last said of it: one row for each task until the machine has removed it.

`id` is what the machine knows a task by: its name with a random end, so that a name which is used again is another task
there, and nothing that is said late of the one is taken for the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, String, and_, bindparam, delete, select, update
from sqlalchemy.engine import Row as SqlRow

from smalt.agent.wire import Phase, Ref, TaskSpec, TaskState
from smalt.store import nodes
from smalt.store.nodes import Machine
from smalt.store.quick import QuickSelect
from smalt.store.tables import node_task


@dataclass(frozen=True)
class NodeTask:
    """`state` is None until the machine has said that it has the task; `grace_s`: it was asked to stop."""

    id: str
    name: str
    node: str
    owner: str
    fence: int
    refs: frozenset[Ref]
    written: frozenset[Ref]
    state: TaskState | None
    grace_s: float | None
    removing: bool
    since: float

    def may(self, ref: Ref, write: bool) -> bool:
        """Whether the task names this blob, or a folder that it is in."""
        return any(_holds(one, ref) for one in (self.written if write else self.refs))

    @property
    def ended(self) -> bool:
        return self.state is not None and self.state.phase is Phase.EXITED


def add(connection: Connection, task: TaskSpec, now: float) -> str:
    """The intent to run it; its id."""
    id_ = f"{task.name}.{os.urandom(4).hex()}"
    connection.execute(
        node_task.insert().values(
            id=id_,
            name=task.name,
            node=task.node,
            owner=task.owner,
            fence=task.fence,
            refs=_refs(task),
            state=None,
            grace_s=None,
            removing=False,
            since=now,
        )
    )
    return id_


_ANY = QuickSelect(select(node_task.c.id).where(node_task.c.name == bindparam("task", type_=String)).limit(1))


def current(connection: Connection, name: str) -> NodeTask | None:
    """The task that has this name now. Asked for in each look at a task, which mostly is on no machine of its own."""
    if not _ANY.rows(connection, {"task": name}):
        return None
    query = select(node_task).where(node_task.c.name == name, node_task.c.removing.is_(False))
    return _one(connection.execute(query).first())


def get(connection: Connection, id_: str) -> NodeTask | None:
    return _one(connection.execute(select(node_task).where(node_task.c.id == id_)).first())


def of_node(connection: Connection, node: str) -> list[NodeTask]:
    found = connection.execute(select(node_task).where(node_task.c.node == node).order_by(node_task.c.since))
    return [_task(row) for row in found]


def owners(connection: Connection, node: str) -> list[str]:
    """Whose tasks a machine has."""
    return list(connection.execute(select(node_task.c.owner).where(node_task.c.node == node).distinct()).scalars())


def nodes_with_tasks(connection: Connection) -> set[str]:
    """The names of the machines that have been given something, be it gone or not."""
    return set(connection.execute(select(node_task.c.node).distinct()).scalars())


def busy(connection: Connection) -> list[Machine]:
    """Those that have a task which has not ended."""
    given = nodes_with_tasks(connection)
    known = [one for one in nodes.every(connection) if one.name in given]
    return [one for one in known if not all(row.ended for row in of_node(connection, one.name))]


def note(connection: Connection, id_: str, **values: Any) -> None:
    connection.execute(update(node_task).where(node_task.c.id == id_).values(**values))


def say(connection: Connection, id_: str, state: TaskState) -> None:
    note(connection, id_, state=state.to_json())


def forget(connection: Connection, ids: Iterable[str]) -> None:
    connection.execute(delete(node_task).where(node_task.c.id.in_(list(ids))))


def forget_removed(connection: Connection, node: str) -> None:
    """Of a machine that will never say that they are gone."""
    connection.execute(delete(node_task).where(and_(node_task.c.node == node, node_task.c.removing)))


def _refs(task: TaskSpec) -> str:
    return json.dumps([sorted(task.refs()), sorted(task.written())])


@lru_cache(4096)
def _named(refs: str) -> tuple[frozenset[Ref], frozenset[Ref]]:
    """What `_refs` wrote: asked for by each request for a blob, of all tasks of the machine."""
    named, written = json.loads(refs)
    return frozenset(Ref(*one) for one in named), frozenset(Ref(*one) for one in written)


def _holds(ref: Ref, other: Ref) -> bool:
    folder = f"{ref.name.rstrip('/')}/" if ref.name else ""
    same = ref[:2] == other[:2]
    return same and (other.name.rstrip("/") == ref.name.rstrip("/") or other.name.startswith(folder))


def _one(row: SqlRow[Any] | None) -> NodeTask | None:
    return None if row is None else _task(row)


def _task(row: SqlRow[Any]) -> NodeTask:
    named, written = _named(row.refs)
    return NodeTask(
        row.id,
        row.name,
        row.node,
        row.owner,
        row.fence,
        named,
        written,
        TaskState.from_json(row.state) if row.state else None,
        row.grace_s,
        row.removing,
        row.since,
    )
