"""The life of a job of any type, around what is the type's own: tracked, ended, tidied away, deleted.

An end is written down (`ending`) before anything is tidied away: what was removed must never look as if it had not
begun. From then on nothing that is asked changes how the job ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import Phase
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import RunSpec
from smalt.arm.runs import PARAMETERS, PARENT_RUN, STATUSES, shared_tags
from smalt.kinds.jobs import launch, peers
from smalt.kinds.jobs.model import CANCEL, PARENT, REUSED, TERMINAL
from smalt.kinds.jobs.status import JobStatus
from smalt.sched import placement
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

RESYNC_S = 60.0
CANCEL_REQUESTED = "CancelRequested"
_NOT_REGISTERED = "OutputsNotRegistered"  # an error's code
Completed = Callable[[Connection, Row, float], None]  # what is written with a job's end where it completed


def nothing_more(connection: Connection, row: Row, now: float) -> None:
    """`Completed` of a job type that leaves nothing behind but what all do."""


def step(
    platform: Platform,
    row: Row,
    live: Callable[[Platform, Row, JobStatus, bool], Step],
    completed: Completed = nothing_more,
) -> Step:
    """One pass over a job; `live(platform, row, status, canceled)` is its type's own, while it has not ended."""
    if row.deleting:
        return _delete(platform, row)
    if row.state in TERMINAL:
        return Step(row.state, row.status, done=True)
    status = JobStatus.read(row.status)
    if status.ending:
        return _end(platform, row, status, completed)
    return live(platform, row, status, bool(row.spec[OURS].get(CANCEL)))


def tracked(platform: Platform, row: Row, status: JobStatus) -> JobStatus:
    """The job has its run in the tracking server."""
    if status.tracked:
        return status
    platform.tracking.ensure_run(_run_spec(platform, row))
    return replace(status, tracked=True)


def at(row: Row, state: str, status: JobStatus, after: float | None = RESYNC_S, **more: Any) -> Step:
    """The job goes on, in this state."""
    return Step(state, status.document(), after=after, **more)


def finish(platform: Platform, row: Row, status: JobStatus, state: str, error: Mapping[str, Any] | None = None) -> Step:
    """Write down how the job ends: Completed, Failed or Canceled."""
    ended = [task for name in status.tasks if (task := platform.engine.observe(name)) is not None]
    status = replace(
        status.begun(ended),
        ending=state,
        held={},
        error=dict(error) if error else status.error,
        ended_at=max((task.ended_at for task in ended), default=0) or platform.clock(),
    )
    return at(row, "Finalizing" if state == "Completed" else row.state, status, after=0)


def ask_to_cancel(connection: Connection, row: Row, by: str, now: float) -> None:
    """The user's wish, in the spec: the job's next step follows it. Raises Changed."""
    spec = {**row.spec, OURS: {**part(row.spec, OURS), CANCEL: True}}
    resources.replace_spec(
        connection, row, spec, state=CANCEL_REQUESTED, now=now, by=by, due=True, reason="cancel requested"
    )


def give_up(platform: Platform, row: Row, error: Document) -> Step:
    """The steps raise again and again: the job fails, and ends as every job does.

    Its end is never given up: it holds nodes. Where its outputs cannot be registered, it ends as Failed.
    """
    status = JobStatus.read(row.status)
    if status.ending and error.get("code") != _NOT_REGISTERED:
        return at(row, row.state, status)
    status = replace(status, ended_at=status.ended_at or platform.clock(), error=error, ending="Failed")
    return at(row, row.state, status, after=0, reason=str(error["message"])[:500])


def _end(platform: Platform, row: Row, status: JobStatus, completed: Completed) -> Step:
    """The end: tracked, outputs registered, nodes given back, what ran tidied away."""
    if row.spec[OURS].get(REUSED):  # it has its run all the same
        status = tracked(platform, row, status)
    _end_run(platform, row, status.ending, status.ended_at or platform.clock())
    for name in status.tasks:
        platform.engine.remove(name)
    now = platform.clock()

    def writes(connection: Connection) -> None:
        placement.release(connection, row.id, now)
        peers.forget(platform, connection, row)
        if status.ending == "Completed":
            _complete(completed, connection, row, now)

    reason = str((status.error or {}).get("message", ""))[:500]
    left = status.without_older_secret().document()
    return Step(status.ending, left, done=True, final=True, reason=reason, writes=writes, home="")


def _complete(completed: Completed, connection: Connection, row: Row, now: float) -> None:
    """Raises ArmError(400) for what no other try mends; what the database raises goes through."""
    try:
        completed(connection, row, now)
    except (ArmError, LookupError, TypeError, ValueError) as error:
        why = error.message if isinstance(error, ArmError) else repr(error)
        raise ArmError(
            400, _NOT_REGISTERED, f"The job's named outputs cannot be registered: {why}", "outputs"
        ) from error


def _delete(platform: Platform, row: Row) -> Step:
    status = JobStatus.read(row.status)
    if stop(platform, status):
        return Step(row.state, row.status, after=RESYNC_S)
    now = platform.clock()
    _end_run(platform, row, status.ending or "Canceled", status.ended_at or now)
    for name in status.tasks:
        platform.engine.remove(name)
    with platform.database.write() as connection:
        placement.release(connection, row.id, now)
    launch.remove_artifacts(platform, row)
    return Step(row.state, row.status, gone=True)


def stop(platform: Platform, status: JobStatus) -> bool:
    """Ask what still runs of the attempt to end; whether anything does."""
    states = [platform.engine.observe(name) for name in status.tasks]
    live = [state.name for state in states if state is not None and state.phase is not Phase.EXITED]
    for name in live:
        platform.engine.stop(name, launch.GRACE_S)
    return bool(live)


def _end_run(platform: Platform, row: Row, state: str, ended_at: float) -> None:
    """Also where none is known of: a step that was killed may have made it, and not have written that down."""
    workspace, parameters = ResourceId.parse(row.written).workspace.key, part(row.spec[OURS], PARAMETERS)
    platform.tracking.end_run(workspace, row.name, STATUSES[state], ended_at, parameters)


def _run_spec(platform: Platform, row: Row) -> RunSpec:
    workspace, parent = ResourceId.parse(row.written).workspace, row.spec[OURS].get(PARENT)
    nested = {PARENT_RUN: platform.tracking.run_id(workspace.key, parent)} if parent else {}
    return RunSpec(
        workspace=workspace.key,
        name=row.name,
        experiment=row.properties["experimentName"],
        display_name=row.properties["displayName"],
        user=row.created_by,
        tags={**shared_tags(row.properties), **nested},
        started_at=row.created_at,
        description=row.properties.get("description") or "",
    )
