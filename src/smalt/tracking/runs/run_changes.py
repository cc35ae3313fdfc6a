"""What changed of runs in MLflow's tables, whoever changed it, and changes of our own to a run.

Triggers note every run that is made, renamed, tagged, ended, deleted or restored (`database/triggers.py`), in the
transaction that does it: so nothing is missed when a process is killed between MLflow's answer and what we make of it.
What a run measures is not noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from smalt.arm.ids import ResourceId
from smalt.arm.ports import RunChanges, TrackedRun
from smalt.tracking.database import schema
from smalt.tracking.database.upsert import insert_into

SUBMITTED = "JOB"  # the source type of runs that we made; MLflow's own are UNKNOWN
NAME_LENGTH = 250
_ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
_KEY_LENGTH, _VALUE_LENGTH = 250, 8000
_PARENT = "mlflow.parentRunId"
_YEAR_2200_MS = 7_258_118_400_000


def changed(connection: Connection, most: int, among: Sequence[str] | None) -> list[tuple[int, str]]:
    table = schema.changed_runs
    query = select(table.c.seq, table.c.run_uuid).order_by(table.c.seq).limit(most)
    if among is not None:
        query = query.where(table.c.run_uuid.in_(among))
    return [(row.seq, row.run_uuid) for row in connection.execute(query)]


def forget(connection: Connection, numbers: Sequence[int]) -> None:
    connection.execute(delete(schema.changed_runs).where(schema.changed_runs.c.seq.in_(numbers)))


def read(connection: Connection, run_ids: Sequence[str]) -> list[TrackedRun]:
    tags: dict[str, dict[str, str]] = {run_id: {} for run_id in run_ids}
    for row in connection.execute(select(schema.tags).where(schema.tags.c.run_uuid.in_(run_ids))):
        tags[row.run_uuid][row.key] = row.value or ""
    rows = _runs(connection, run_ids)
    parents = _runs(connection, [tag[_PARENT] for tag in tags.values() if _PARENT in tag])
    return [
        _tracked(row, tags[row.run_uuid], parents.get(tags[row.run_uuid].get(_PARENT, ""))) for row in rows.values()
    ]


def change(connection: Connection, run_id: str, changes: RunChanges, now_ms: int) -> RunChanges | None:
    table = schema.runs
    run = connection.execute(select(table.c.status, table.c.lifecycle_stage).where(table.c.run_uuid == run_id)).first()
    if run is None:
        return None
    gone = [key[:_KEY_LENGTH] for key, value in changes.tags.items() if value is None]
    tags = {key: value for key, value in changes.tags.items() if value is not None}
    values: dict[str, Any] = {}
    if changes.display_name is not None:
        values["name"] = tags["mlflow.runName"] = changes.display_name[:NAME_LENGTH]
    hidden = None if changes.hidden and run.status not in _ENDED else changes.hidden
    if hidden is not None and hidden != (run.lifecycle_stage == "deleted"):
        values |= {"lifecycle_stage": "deleted" if hidden else "active", "deleted_time": now_ms if hidden else None}
    if values:
        connection.execute(update(table).where(table.c.run_uuid == run_id).values(values))
    connection.execute(delete(schema.tags).where(schema.tags.c.run_uuid == run_id, schema.tags.c.key.in_(gone)))
    set_tags(connection, run_id, tags)
    return RunChanges(changes.display_name, changes.tags, hidden)


def set_tags(connection: Connection, run_id: str, values: Mapping[str, str]) -> None:
    if not values:
        return
    rows: Sequence[dict[str, Any]] = [
        {"key": key[:_KEY_LENGTH], "value": str(value)[:_VALUE_LENGTH], "run_uuid": run_id}
        for key, value in values.items()
    ]
    statement = insert_into(connection, schema.tags)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["key", "run_uuid"], set_={"value": statement.excluded.value}),
        rows,
    )


def _runs(connection: Connection, run_ids: Sequence[str]) -> dict[str, Any]:
    """By run id, with the names of experiment and workspace."""
    runs, experiments, workspaces = schema.runs, schema.experiments, schema.workspaces
    query = (
        select(runs, experiments.c.name.label("experiment"), workspaces.c.description.label("home"))
        .join(experiments, experiments.c.experiment_id == runs.c.experiment_id)
        .join(workspaces, workspaces.c.name == experiments.c.workspace)
        .where(runs.c.run_uuid.in_(run_ids), workspaces.c.description.startswith("/subscriptions/"))
    )
    return {row.run_uuid: row for row in connection.execute(query)} if run_ids else {}


def _tracked(row: Any, tags: Mapping[str, str], parent: Any) -> TrackedRun:
    return TrackedRun(
        run_id=row.run_uuid,
        workspace=ResourceId.parse(row.home).key,
        job=_job(row),
        submitted=row.source_type == SUBMITTED,
        experiment=row.experiment,
        display_name=row.name or "",
        status=row.status,
        hidden=row.lifecycle_stage == "deleted",
        user=row.user_id or "",
        parent=parent.run_uuid if parent is not None and parent.home == row.home else "",
        started_at=_seconds(row.start_time),
        ended_at=_seconds(row.end_time),
        tags=tags,
    )


def _job(row: Any) -> str:
    """The second workspace's job of a name has a run of another name (`runs.MlflowTracking`).

    But it has artifacts of its own.
    """
    return row.artifact_uri.rpartition("/dcid.")[2] if row.source_type == SUBMITTED else row.run_uuid


def _seconds(milliseconds: int | None) -> float:
    """0 for a time that is no date of ours: clients may write any number."""
    return (milliseconds or 0) / 1000 if 0 < (milliseconds or 0) < _YEAR_2200_MS else 0
