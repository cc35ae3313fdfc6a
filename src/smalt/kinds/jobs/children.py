"""Jobs that run other jobs: a child is submitted through the same admission as a client's, in its parent's transaction.

A parent's step does not grow with the number of its children: how many are in which state is counted where they are
written (`store/children.py`), and so is when the parent looks again. What it decides and the children that follow from
that are written together, so a kill between the two submits none twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from smalt.arm.errors import conflict
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.runs import JOBS
from smalt.kinds.assets import references
from smalt.kinds.jobs import accept, authors, launch, life
from smalt.kinds.jobs.model import LATEST, PARENT, ROOT, TERMINAL
from smalt.kinds.jobs.status import JobStatus
from smalt.settings import TENANT
from smalt.store import children as counted
from smalt.store import resources
from smalt.store.resources import Lock, New, Row
from smalt.store.tables import resource

AT_ONCE = 25  # children that one transaction submits, and one step cancels: others wait for it


Adapt = Callable[[Connection, Admitted], Admitted]


@dataclass(frozen=True)
class Child:
    """A job to be: its name in the workspace, and the `properties` that a client would send.

    `adapt` has the last word on what is written of it; `ours`: what its spec's own part has besides.
    """

    name: str
    properties: Document
    adapt: Adapt = lambda connection, admitted: admitted
    ours: Document = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Counts:
    """How many children there are in each state; `open`: of all those that have not ended."""

    states: Mapping[str, int]
    open: int

    def of(self, *states: str) -> int:
        return sum(self.states.get(state, 0) for state in states)


@dataclass(frozen=True)
class Plan:
    """What a parent decides in one step.

    - `children`: those that it submits now, at most AT_ONCE; `more`: it has more to submit at once.
    - `decided`: what it wants to know in its next step.
    - `outputs`: where its own outputs are, as far as that is known; None: as before.
    - `end`: how it ends (Completed, Failed, Canceled) once no child is open; `error`: why. `at_once`: it waits for
      none, and those that are open are canceled.
    - `cancel`: the names of children that are to end now. They are asked before the rest is written, which may be
      decided anew.
    - `after`: it looks again in so many seconds, whatever happens; None: only when something wakes it.
    - `writes` runs in the transaction of the step.
    """

    children: Sequence[Child] = ()
    more: bool = False
    decided: Document = field(default_factory=dict[str, Any])
    outputs: Document | None = None
    end: str = ""
    error: Document | None = None
    at_once: bool = False
    cancel: Sequence[str] = ()
    after: float | None = None
    writes: Callable[[Connection], None] | None = None


Decide = Callable[[Platform, Row, JobStatus, Counts], Plan]
Last = Callable[[Platform, Row, JobStatus, Counts], Plan | None]
"""What comes when it is written down how the parent ends, while its children still end or have ended.

None: nothing more: those that are open are canceled, and the parent ends. `Plan.end`: it ends otherwise.
"""


def nothing_last(platform: Platform, row: Row, status: JobStatus, counts: Counts) -> Plan | None:
    return None


def step(
    decide: Decide,
    platform: Platform,
    row: Row,
    completed: life.Completed = life.nothing_more,
    last: Last = nothing_last,
) -> Step:
    """One pass over a parent. `decide` is asked whenever children have ended, and while it says that there are more.

    `completed` is written with its end, where it completed.
    """
    status = JobStatus.read(row.status)
    if row.state not in TERMINAL and status.ending and not row.deleting:
        found = counts(platform, row)
        if (plan := last(platform, row, status, found)) is not None:
            return _at_last(platform, row, status, plan)
        if found.open:  # it failed, or was given up
            return _cancel(platform, row, row.state)

    def live(platform: Platform, row: Row, status: JobStatus, canceled: bool) -> Step:
        if canceled:
            return _cancel(platform, row, life.CANCEL_REQUESTED)
        return _go_on(decide, platform, row, life.tracked(platform, row, status))

    return life.step(platform, row, live, completed)


def _go_on(decide: Decide, platform: Platform, row: Row, status: JobStatus) -> Step:
    found, now = counts(platform, row), platform.clock()
    plan = decide(platform, row, status, found)
    status = replace(status, decided=plan.decided, outputs=status.outputs if plan.outputs is None else plan.outputs)
    if plan.end and (plan.at_once or not found.open) and not plan.children:
        return replace(life.finish(platform, row, status, plan.end, plan.error), writes=plan.writes)
    if not found.open and not plan.children and not plan.more:
        raise RuntimeError(
            f"a {row.properties['jobType']} job with no child left says neither what next nor how it ends"
        )

    _ask_to_cancel(platform, row, [_key(row, name) for name in plan.cancel])

    def writes(connection: Connection) -> None:
        submit(platform, connection, row, plan.children)
        if plan.writes is not None:
            plan.writes(connection)

    has_writes = plan.children or plan.writes is not None
    status = replace(status, started_at=status.started_at or now)
    return life.at(row, "Running", status, after=0 if plan.more else plan.after, writes=writes if has_writes else None)


def counts(platform: Platform, parent: Row) -> Counts:
    with platform.database.read() as connection:
        found = counted.counts(connection, parent.id)
    left = found.pop(counted.OPEN, 0)
    return Counts(found, left)


def submit(platform: Platform, connection: Connection, parent: Row, children: Sequence[Child]) -> None:
    """Each child is taken as a client's job would be; nothing happens where the parent has submitted it already.

    Raises ArmError: what is wrong with one, or that the workspace has another job of its name.
    """
    requests = {child.name: _request(platform, parent, child.name) for child in children}
    there = resources.get_many(connection, [request.id.key for request in requests.values()])
    new: list[New] = []
    writes: list[Callable[[Connection], None]] = []
    for child in children:
        request = requests[child.name]
        if (row := there.get(request.id.key)) is None:
            taken, also = _taken(request, connection, parent, child)
            new.append(taken)
            writes += [also] if also is not None else []
        elif row.parent != parent.id:
            message = f"Job '{child.name}', which job '{parent.name}' would submit, is another job already."
            raise conflict(message, "name")
    resources.insert_all(connection, new, platform.clock())
    for also in writes:
        also(connection)


def _taken(
    request: Request, connection: Connection, parent: Row, child: Child
) -> tuple[New, Callable[[Connection], None] | None]:
    """The row, and what is written after it."""
    admitted = child.adapt(connection, _admitted(request, connection, parent, child))
    ours = {**admitted.spec[OURS], **child.ours, **authors.inherited(parent), PARENT: parent.name}
    ours[ROOT] = parent.spec[OURS].get(ROOT) or parent.name
    row = New(
        request.id.key,
        str(request.id),
        JOBS,
        parent.id,
        child.name,
        {**admitted.spec, OURS: ours},
        admitted.status or {},
        admitted.state,
        parent.created_by,
        due_at=request.now,
        lookup=admitted.lookup,
        counted=True,
    )
    return row, admitted.writes


def _at_last(platform: Platform, row: Row, status: JobStatus, plan: Plan) -> Step:
    status = replace(
        status,
        decided=plan.decided,
        outputs=status.outputs if plan.outputs is None else plan.outputs,
        ending=plan.end or status.ending,
        error=plan.error or status.error,
        ended_at=platform.clock(),
    )

    def writes(connection: Connection) -> None:
        submit(platform, connection, row, plan.children)

    return life.at(row, row.state, status, after=0 if plan.more else None, writes=writes if plan.children else None)


def rehearsed(platform: Platform, connection: Connection, parent: Row, child: Child) -> Admitted:
    """How the child would be taken now. Raises ArmError."""
    return _admitted(_request(platform, parent, child.name), connection, parent, child)


def _request(platform: Platform, parent: Row, name: str) -> Request:
    workspace = ResourceId.parse(parent.written).workspace
    principal = Principal(launch.job_oid(parent), parent.created_by, "job", TENANT, scope=workspace.key)
    return Request(platform, workspace.child("jobs", name), principal, platform.clock())


def _admitted(request: Request, connection: Connection, parent: Row, child: Child) -> Admitted:
    properties = {"experimentName": parent.properties["experimentName"], **child.properties}
    with references.latest(parent.spec[OURS].get(LATEST)):
        return accept.new(replace(request, body={"properties": properties}), connection)


def _cancel(platform: Platform, row: Row, state: str) -> Step:
    """Some of the open children are told to end; the parent ends when all have."""
    status = JobStatus.read(row.status)
    if not counts(platform, row).open:
        if status.ending:  # how it ends is written down; its children have ended meanwhile
            return life.at(row, state, status, after=0)
        return life.finish(platform, row, status, "Canceled")
    with platform.database.read() as connection:
        asked = _not_asked(connection, row)
    _ask_to_cancel(platform, row, asked)
    return life.at(row, state, status, after=0 if len(asked) == AT_ONCE else None)


def _ask_to_cancel(platform: Platform, parent: Row, keys: Sequence[str]) -> None:
    """Each in a transaction of its own, before the parent's apply; nothing happens where it is asked already.

    A child's step locks its row, then the counts and the parent's row: who holds those must not wait for a child.
    """
    for key in keys:
        with platform.database.write() as connection:
            child = resources.get(connection, key, Lock.WRITE)
            if child is None or child.parent != parent.id or child.deleting:
                continue
            if child.state not in TERMINAL and child.state != life.CANCEL_REQUESTED:
                life.ask_to_cancel(connection, child, parent.changed_by, platform.clock())


def _key(parent: Row, name: str) -> str:
    return ResourceId.parse(parent.written).workspace.child("jobs", name).key


def _not_asked(connection: Connection, parent: Row) -> list[str]:
    query = select(resource.c.id).where(
        resource.c.parent == parent.id,
        resource.c.counted,
        resource.c.ended_at.is_(None),
        resource.c.state != life.CANCEL_REQUESTED,
        resource.c.deleting.is_(False),
    )
    return list(connection.execute(query.order_by(resource.c.id).limit(AT_ONCE)).scalars())
