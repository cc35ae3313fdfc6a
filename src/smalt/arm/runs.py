"""A job and its MLflow run are one: one name, one description, one set of tags, one life, whichever client writes.

Once a job has a run, MLflow has the truth of what the two share. The job's row repeats it, for lists and filters.
What an ARM client changes stands in the row as `untold` until MLflow has it; only that is written. What MLflow's
clients change is noted in MLflow's own tables until the row has it (`TrackedRuns.changed_runs`). So a process may be
killed anywhere between the two.

A run that was made outside of a job has a row of its own, without a task behind it. A nested run's row is below its
parent's (the column `parent`; the id is that of any job): lists of jobs show roots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.envelope import timestamp
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS
from smalt.arm.ports import RunChanges, TrackedRun, Tracking
from smalt.store import children, news, resources
from smalt.store.database import Database
from smalt.store.document import Document, part
from smalt.store.resources import Lock, Row

JOBS = "workspaces/jobs"
NOTE = "mlflow.note.content"
NOWHERE = "outside-of-jobs"  # clients refuse a job without an environment; there is none of this name
STATES = {
    "RUNNING": "Running",
    "SCHEDULED": "Queued",
    "FINISHED": "Completed",
    "FAILED": "Failed",
    "KILLED": "Canceled",
}
STATUSES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}  # of jobs that have ended
_RUN, _UNTOLD, _ALIKE = "run", "untold", "alike"  # keys of a spec's own part
RUN_TYPE = "run_type"  # in a job's own part of the spec: run history's word for it
PARENT_RUN = "mlflow.parentRunId"
PARAMETERS = "parameters"  # there too: what its run has logged as parameters when it ends
WATCHED = "watched"  # there too: the metric whose logging wakes the job above
SHOWN_ONLY = (HELD_UNTIL, HELD_WHY) = "smalt.held_until", "smalt.held_why"  # properties that are not kept
_SOON_S = 0.1  # then the job above looks, later where it has many children: at all that was logged meanwhile
_SHOWN_ELSEWHERE = frozenset({NOTE, "mlflow.runName", PARENT_RUN, "smalt.hidden"})
_KEY_LENGTH, _NAME_LENGTH, _VALUE_LENGTH = 250, 250, 8000  # what MLflow keeps
_DEPTH_MOST = 20
_AT_ONCE = 100
_UNWATCHED_S = 5.0  # so long nobody asks again whether what a job logs wakes one: it is decided when a job is made
_UNWATCHED_MOST = 10_000
_LISTENERS = ThreadPoolExecutor(2, thread_name_prefix="logged")


def is_run(row: Row) -> bool:
    """Whether this job is a run that was made outside of a job."""
    return bool(part(row.spec, OURS).get(_RUN))


def run_type(row: Row) -> str:
    """Run history's word for it."""
    return "mlflow.run" if is_run(row) else part(row.spec, OURS).get(RUN_TYPE) or "azureml.commandjob"


def held(row: Row) -> Document:
    """The properties of a job whose command has failed and whose node is kept: until when, and why it failed."""
    found = part(row.status, "held") if row.state == "Running" else {}
    return {HELD_UNTIL: timestamp(found["until"]), HELD_WHY: found["why"]} if found else {}


def untold(row: Row) -> RunChanges | None:
    """What MLflow has not been told yet of what ARM's clients changed."""
    left = part(part(row.spec, OURS), _UNTOLD)
    return RunChanges(left.get("name"), part(left, "tags"), left.get("hidden")) if left else None


def begun_alike(ours: Mapping[str, Any]) -> Document:
    """A new job's own part of the spec: its run will begin with all that the two share."""
    return {**ours, _ALIKE: True}


def shared_tags(properties: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the run that a job with these properties is: its own win over its properties."""
    both = {**part(properties, "properties"), **part(properties, "tags")}
    return {key: str(value) for key, value in both.items() if value is not None}


def described(row: Row, properties: Document, archived: bool) -> Document:
    """The spec of a job that an ARM client describes so; what it changed is to be told to MLflow."""
    before, after = shared_tags(row.properties), shared_tags(properties)
    tags: dict[str, str | None] = {key: value for key, value in after.items() if before.get(key) != value}
    tags |= dict.fromkeys(key for key in before if key not in after)
    if (properties.get("description") or "") != (row.properties.get("description") or ""):
        tags[NOTE] = properties.get("description") or None
    name = properties.get("displayName")
    changes = RunChanges(
        name if name != row.properties.get("displayName") else None,
        tags,
        archived if archived != row.archived else None,
    )
    left = untold(row) or RunChanges()
    both = RunChanges(
        left.display_name if changes.display_name is None else changes.display_name,
        {**left.tags, **changes.tags},
        left.hidden if changes.hidden is None else changes.hidden,
    )
    return _with_untold({**row.spec, "properties": properties}, both)


def _with_untold(spec: Document, left: RunChanges) -> Document:
    said = {"name": left.display_name, "tags": dict(left.tags) or None, "hidden": left.hidden}
    kept = {key: value for key, value in said.items() if value is not None}
    ours = {key: value for key, value in part(spec, OURS).items() if key != _UNTOLD}
    return {**spec, OURS: {**ours, _UNTOLD: kept} if kept else ours}


@dataclass(frozen=True)
class JobRuns:
    """Makes jobs and runs alike.

    All of it may be done twice, and raises NotReady while MLflow's database is being made.
    """

    database: Database
    tracking: Tracking
    clock: Callable[[], float]
    _unwatched: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])  # when it was found

    def tell(self, key: str) -> None:
        """MLflow hears what ARM's clients changed of the job with this key; nothing happens while it has no run."""
        with self.database.read() as connection:
            row = resources.get(connection, key)
        changes = untold(row) if row is not None else None
        if row is None or changes is None:
            return
        told = self.tracking.change_run(ResourceId.parse(row.written).workspace.key, row.name, changes)
        if told is None:
            return
        with self.database.write() as connection:
            row = resources.get(connection, key, Lock.WRITE)
            left = untold(row) if row is not None else None
            if row is not None and left is not None:
                self._describe(connection, row, _with_untold(row.spec, _without(left, told)))

    def take_over(self, run_ids: Sequence[str], by: str) -> None:
        """Jobs become as these runs are, where those changed. `by` changed them."""
        self._take_over(self.tracking.changed_runs(len(run_ids), run_ids), by)

    def take_over_all(self, most: int = _AT_ONCE) -> bool:
        """Jobs become as runs are, for up to `most` runs that changed; whether there are more."""
        changed = self.tracking.changed_runs(most)
        self._take_over(changed, "")
        return len(changed) == most

    def hear(self, workspace: str, run_id: str, metrics: Sequence[tuple[str, float, int]]) -> None:
        """As `logged`, of (metric, value, step), without waiting: a job that does not hear looks a minute later."""
        found_at = self._unwatched.get((workspace, run_id))
        if found_at is None or not found_at <= self.clock() < found_at + _UNWATCHED_S:
            _LISTENERS.submit(self.logged, workspace, run_id, {name for name, _, _ in metrics})

    def logged(self, workspace: str, run_id: str, metrics: Set[str]) -> None:
        """A run logged these: the job above looks soon, where it watches one of them."""
        workspace_id, now = ResourceId.parse(workspace), self.clock()
        with self.database.read() as connection:
            row = resources.get(connection, workspace_id.child("jobs", run_id).key)
            if row is None:  # another workspace had the name first, so the run has another
                names = [run.job for run in self.tracking.read_runs([run_id])]
                row = resources.get(connection, workspace_id.child("jobs", names[0]).key) if names else None
            watched = part(row.spec, OURS).get(WATCHED) if row is not None else None
            if watched is None and len(self._unwatched) < _UNWATCHED_MOST:
                self._unwatched[workspace, run_id] = now
            elif watched is None:
                self._unwatched.clear()
            if row is None or watched not in metrics:
                return
            above = resources.get(connection, row.parent)
            counts = children.counts(connection, row.parent)
        number = sum(count for state, count in counts.items() if state != children.OPEN)
        at = now + max(_SOON_S, children.PACE_S * number)
        if above is None or above.ended_at is not None or (above.due_at is not None and above.due_at <= at):
            return
        with self.database.write() as connection:
            children.wake(connection, above.id, at)
            news.tell(connection, above.id, due=True)

    def _take_over(self, changed: Sequence[tuple[int, str]], by: str) -> None:
        if not changed:
            return
        rows: list[tuple[Row, TrackedRun]] = []
        with (
            self.database.write() as connection
        ):  # read inside: of two that take over the same run the later has the newer
            for run in self.tracking.read_runs([run_id for _, run_id in changed]):
                if (row := self._alike(connection, run, by)) is not None:
                    rows.append((row, run))
        for row, run in rows:
            if _ended_otherwise(row, run):  # a job's end decides, whatever a client said of its run
                workspace, at = (
                    ResourceId.parse(row.written).workspace.key,
                    row.status.get("ended_at") or row.changed_at,
                )
                self.tracking.end_run(workspace, row.name, STATUSES[row.state], at)
            if untold(row) is not None:
                self.tell(row.id)
        self.tracking.forget_changes([number for number, _ in changed])

    def _alike(self, connection: Connection, run: TrackedRun, by: str, depth: int = 0) -> Row | None:
        """The job's row, now as the run is; None where there is none to be."""
        home = resources.get(connection, run.workspace)
        if home is None or home.deleting:
            return None
        id_ = ResourceId.parse(home.written).child("jobs", run.job)
        row = resources.get(connection, id_.key, Lock.WRITE)
        if row is None and run.submitted:  # its job was deleted
            return None
        if row is None:
            self._insert(connection, run, id_, self._above(connection, run, id_, by, depth), by)
        elif not row.deleting:
            spec, archived = _spec(row, run), row.archived if _is_untold(row, "hidden") else run.hidden
            if is_run(row):
                above = self._above(connection, run, id_, by, depth)
                state, status = STATES.get(run.status, "Running"), {**row.status, **_times(run)}
                self._describe(connection, row, spec, archived, by, state=state, status=status, parent=above)
            else:
                self._describe(connection, row, spec, archived, by)
        return resources.get(connection, id_.key)

    def _insert(self, connection: Connection, run: TrackedRun, id_: ResourceId, above: str, by: str) -> None:
        now = self.clock()
        empty: Document = {
            "jobType": "Command",
            "command": "",
            "environmentId": f"{id_.workspace}/environments/{NOWHERE}/versions/0",
            "experimentName": run.experiment,
            "displayName": run.display_name,
            "tags": {},
            "properties": {},
            "inputs": {},
            "outputs": {},
        }
        begun = run.started_at or now
        row = Row(
            id=id_.key,
            written=str(id_),
            kind=JOBS,
            parent=above,
            name=run.job,
            spec={"properties": empty, OURS: {_RUN: True}},
            status=_times(run),
            state=STATES.get(run.status, "Running"),
            generation=1,
            observed=1,
            archived=run.hidden,
            lookup=None,
            deleting=False,
            due_at=None,
            failures=0,
            lease=None,
            lease_until=None,
            created_at=begun,
            changed_at=begun,
            created_by=run.user or by,
            changed_by=run.user or by,
            ended_at=None,
        )
        resources.insert(
            connection,
            key=row.id,
            written=row.written,
            kind=JOBS,
            parent=above,
            name=row.name,
            spec=_spec(row, run),
            status=row.status,
            state=row.state,
            now=begun,
            by=row.created_by,
            archived=run.hidden,
        )

    def _above(self, connection: Connection, run: TrackedRun, id_: ResourceId, by: str, depth: int) -> str:
        """The key of the row that the run's row is below: that of the run it is nested in, else the workspace's."""
        if not run.parent or run.parent == run.run_id or depth >= _DEPTH_MOST:
            return id_.workspace.key
        for parent in self.tracking.read_runs([run.parent]):
            key = id_.workspace.child("jobs", parent.job).key
            row = resources.get(connection, key) or self._alike(connection, parent, by, depth + 1)
            if row is not None and not row.deleting and not _is_below(connection, row, id_.key):
                return row.id
        return id_.workspace.key

    def _describe(
        self, connection: Connection, row: Row, spec: Document, archived: bool | None = None, by: str = "", **more: Any
    ) -> None:
        archived = row.archived if archived is None else archived
        if (spec, archived) != (row.spec, row.archived) or any(getattr(row, key) != more[key] for key in more):
            resources.describe(
                connection, row, spec, archived=archived, now=self.clock(), by=by or row.changed_by, **more
            )


def _is_below(connection: Connection, row: Row | None, key: str) -> bool:
    for _ in range(_DEPTH_MOST):
        if row is None or row.id == key:
            return row is not None
        row = resources.get(connection, row.parent) if row.kind == JOBS else None
    return True


def _is_untold(row: Row, what: str) -> bool:
    left = untold(row)
    return left is not None and getattr(left, what) is not None


def _ended_otherwise(row: Row, run: TrackedRun) -> bool:
    return not is_run(row) and row.state in STATUSES and run.status != STATUSES[row.state]


def _times(run: TrackedRun) -> Document:
    return {"started_at": run.started_at or None, "ended_at": run.ended_at or None}


def _without(left: RunChanges, told: RunChanges) -> RunChanges:
    return RunChanges(
        None if left.display_name == told.display_name else left.display_name,
        {key: value for key, value in left.tags.items() if key not in told.tags or told.tags[key] != value},
        None if left.hidden == told.hidden else left.hidden,
    )


def _spec(row: Row, run: TrackedRun) -> Document:
    """The job's spec as the run has it, but for what MLflow has not been told yet."""
    if not is_run(row) and not part(row.spec, OURS).get(_ALIKE):
        return _first(row, run)
    left, properties = untold(row) or RunChanges(), dict(row.properties)
    properties["experimentName"] = run.experiment
    if left.display_name is None and _differs(properties.get("displayName"), run.display_name, _NAME_LENGTH):
        properties["displayName"] = run.display_name
    note = run.tags.get(NOTE)
    if NOTE not in left.tags and _differs(properties.get("description") or None, note, _VALUE_LENGTH):
        properties["description"] = note
    properties |= _tags(properties, run, left)
    return {**row.spec, "properties": properties}


def _tags(properties: Document, run: TrackedRun, left: RunChanges) -> Document:
    """The job's tags and properties. MLflow has both as tags, and its own (`mlflow.…`) among them."""
    tags, others = part(properties, "tags"), part(properties, "properties")
    kept = {key: value for key, value in tags.items() if key in left.tags or len(key) > _KEY_LENGTH}
    changed = dict(others)
    for key, value in run.tags.items():
        if key in _SHOWN_ELSEWHERE or key in left.tags:
            continue
        if key in tags:
            kept[key] = value if _differs(tags[key], value, _VALUE_LENGTH) else tags[key]
        elif key in others:
            changed[key] = value if _differs(others[key], value, _VALUE_LENGTH) else others[key]
        elif not key.startswith("mlflow."):
            kept[key] = value
    return {"tags": kept, "properties": changed}


def _differs(ours: Any, theirs: str | None, most: int) -> bool:
    return (None if ours is None else str(ours)[:most]) != theirs


def _first(row: Row, run: TrackedRun) -> Document:
    """For a job of an older version, whose run was not told all.

    What the run lacks is told to it, now that it can be.
    """
    ours = {**part(row.spec, OURS), _ALIKE: True}
    tags: dict[str, str | None] = {
        key: value for key, value in shared_tags(row.properties).items() if key not in run.tags
    }
    if (note := row.properties.get("description")) and NOTE not in run.tags:
        tags[NOTE] = note
    spec = _with_untold(
        {**row.spec, OURS: ours}, RunChanges(None, tags, True if row.archived and not run.hidden else None)
    )
    return _spec(replace(row, spec=spec), run)
