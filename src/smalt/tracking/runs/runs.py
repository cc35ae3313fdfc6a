"""Jobs as MLflow runs, written straight into MLflow's tables: works while MLflow is down, and imports none of it.

A run's id *is* the job's name, so `azureml://jobs/{name}` and `runs:/{name}` mean the same thing. MLflow's run ids are
unique on the whole server but a job's name only in its workspace: the second workspace to use a name gets
`{name}-{hash}`, see `naming.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, delete, func, inspect, select, update

from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.ports import RunChanges, RunSpec, TrackedRun
from smalt.settings import Settings
from smalt.store.quick import QuickSelect
from smalt.tracking.address import artifact_root, mlflow_name, run_artifact_uri
from smalt.tracking.database import schema
from smalt.tracking.database.removal import remove_rows_of_workspace
from smalt.tracking.database.tracking_database import TrackingDatabase
from smalt.tracking.database.upsert import Insert, insert_into, wrote
from smalt.tracking.runs import logged, naming, run_changes
from smalt.tracking.runs.run_changes import NAME_LENGTH, SUBMITTED

DEFAULT_EXPERIMENT = "Default"
_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class Run:
    """A run as the tables have it. Times are seconds since the epoch, 0 where there is none."""

    run_id: str
    experiment_id: int
    experiment: str
    display_name: str
    status: str
    started_at: float
    ended_at: float
    hidden: bool
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


_PARAMETERS = QuickSelect(
    naming.OWNERS.add_columns(schema.params.c.key, schema.params.c.value).outerjoin(
        schema.params, schema.params.c.run_uuid == schema.runs.c.run_uuid
    )
)


class MlflowTracking:
    """`ports.Tracking`. `account_of(workspace)` names the storage account that holds the workspace's artifacts."""

    def __init__(
        self, settings: Settings, account_of: Callable[[str], str], clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.database = TrackingDatabase(settings)
        self.account_of = account_of
        self._clock = clock

    def ensure_workspace(self, workspace: str) -> None:
        account = self.account_of(workspace)
        with self.database.write() as connection:
            self._ensure_workspace(connection, workspace, account)

    def ensure_run(self, run: RunSpec) -> None:
        """Again for the same job changes nothing.

        A later start is another job's that has the name of a deleted one: the run begins anew, without what the deleted
        one logged.
        """
        account = self.account_of(run.workspace)
        with self.database.write() as connection:
            self._ensure_workspace(connection, run.workspace, account)
            experiment_id = self._ensure_experiment(connection, run.workspace, run.experiment or DEFAULT_EXPERIMENT)
            run_id = naming.run_id(connection, run.workspace, run.name)
            row = self._row(run, run_id, experiment_id)
            if wrote(connection, _begin(insert_into(connection, schema.runs), row, again=bool(run.started_at))):
                _forget_logged(connection, run_id)
                run_changes.set_tags(connection, run_id, _tags(run))

    def end_run(
        self,
        workspace: str,
        name: str,
        status: str,
        ended_at: float,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`status` is MLflow's. It replaces what the job's own `mlflow.end_run()` said. An unknown run is ignored."""
        if status not in _STATUSES:
            raise invalid(f"'{status}' is not a run's status; use one of {', '.join(_STATUSES)}.", "status")
        with self.database.write() as connection:
            run_id = naming.run_id(connection, workspace, name)
            found = connection.execute(
                update(schema.runs)
                .where(schema.runs.c.run_uuid == run_id)
                .values(status=status, end_time=_milliseconds(ended_at))
            )
            if found.rowcount:
                logged.log_parameters(connection, run_id, parameters)

    def log_metric(self, workspace: str, name: str, metric: str, value: float, at: float, step: int) -> None:
        with self.database.write() as connection:
            run_id = naming.run_id(connection, workspace, name)
            logged.log_metric(connection, run_id, metric, value, _milliseconds(at), step)

    def metric_series(self, workspace: str, names: Sequence[str], metric: str) -> Mapping[str, Sequence[float]]:
        with self.database.read() as connection:
            ids = naming.run_ids(connection, workspace, names)
            series = logged.series(connection, list(ids.values()), metric)
        return {name: series.get(run_id, ()) for name, run_id in ids.items()}

    def metric_names(self, workspace: str, names: Sequence[str]) -> Sequence[str]:
        with self.database.read() as connection:
            return logged.names(connection, list(naming.run_ids(connection, workspace, names).values()))

    def latest_metrics(
        self, workspace: str, name: str, after: str = "", most: int = 100
    ) -> Sequence[tuple[str, float | None, int]]:
        """(name, value, step) of the last of each metric, by name, those behind `after`; value None: no number.

        Raises NotReady.
        """
        with self.database.read() as connection:
            return logged.latest(connection, naming.run_id(connection, workspace, name), after, most)

    def metric_points(
        self, workspace: str, name: str, metric: str, most: int
    ) -> Sequence[tuple[float | None, int, int]]:
        """(value, milliseconds, step) in order; about `most` where there are more, with every peak. Raises NotReady."""
        with self.database.read() as connection:
            return logged.drawn(connection, naming.run_id(connection, workspace, name), metric, most)

    def changed_runs(self, most: int, among: Sequence[str] | None = None) -> Sequence[tuple[int, str]]:
        with self.database.read() as connection:
            return run_changes.changed(connection, most, among)

    def forget_changes(self, numbers: Sequence[int]) -> None:
        with self.database.write() as connection:
            run_changes.forget(connection, numbers)

    def read_runs(self, run_ids: Sequence[str]) -> Sequence[TrackedRun]:
        with self.database.read() as connection:
            return run_changes.read(connection, run_ids)

    def change_run(self, workspace: str, name: str, changes: RunChanges) -> RunChanges | None:
        with self.database.write() as connection:
            run_id = naming.run_id(connection, workspace, name)
            return run_changes.change(connection, run_id, changes, _milliseconds(self._clock()))

    def parameters(self, workspace: str, name: str) -> Mapping[str, str]:
        """In one quick statement: every GET of a job asks."""
        ids = naming.possible(workspace, name)
        with self.database.read() as connection:
            found = _PARAMETERS.rows(connection, naming.bound(ids))
        run_id = naming.owned({run: owner for run, owner, _, _ in found}, workspace, ids)
        return {key: value for run, _, key, value in found if run == run_id and key is not None}

    def remove_run(self, workspace: str, name: str) -> None:
        with self.database.write() as connection:
            run_id = naming.run_id(connection, workspace, name)
            _forget_logged(connection, run_id)
            connection.execute(delete(schema.runs).where(schema.runs.c.run_uuid == run_id))

    def remove_workspace(self, workspace: str) -> None:
        """All that the workspace has in MLflow: the rows that name it, then whatever refers to a row that is gone."""
        name = mlflow_name(workspace)
        with self.database.write() as connection:
            remove_rows_of_workspace(connection, name)
            connection.execute(delete(schema.workspaces).where(schema.workspaces.c.name == name))
            if inspect(connection).has_table(schema.changed_runs.name):  # an older version's gets it at MLflow's start
                there = select(schema.runs.c.run_uuid)
                connection.execute(delete(schema.changed_runs).where(schema.changed_runs.c.run_uuid.not_in(there)))

    def run_id(self, workspace: str, name: str) -> str:
        """MLFLOW_RUN_ID of a job: its name, unless another workspace on this server had the name first."""
        with self.database.read() as connection:
            return naming.run_id(connection, workspace, name)

    def run_id_in(self, connection: Connection, workspace: str, name: str) -> str:
        """`run_id` inside a transaction of the caller's."""
        return naming.run_id(connection, workspace, name)

    def job_names(self, workspace: str, run_ids: Sequence[str]) -> Sequence[str]:
        """Whose runs these are: what `run_id` says, backwards."""
        _, second, last = naming.possible(workspace, "")
        return [one.removesuffix(last).removesuffix(second) for one in run_ids]

    def run_ids_in(self, connection: Connection, workspace: str, names: Sequence[str]) -> Mapping[str, str]:
        """`run_id` of many, by name, inside a transaction of the caller's."""
        return naming.run_ids(connection, workspace, names)

    def now(self) -> float:
        return self._clock()

    def run(self, workspace: str, name: str) -> Run | None:
        """The run of a job, or any run of the workspace by its id, with its tags, parameters and latest metrics."""
        with self.database.read() as connection:
            run_id = naming.run_id(connection, workspace, name)
            row = connection.execute(
                select(schema.runs, schema.experiments.c.name.label("experiment"))
                .join(schema.experiments, schema.experiments.c.experiment_id == schema.runs.c.experiment_id)
                .where(schema.runs.c.run_uuid == run_id, schema.experiments.c.workspace == mlflow_name(workspace))
            ).first()
            if row is None:
                return None
            return Run(
                run_id=row.run_uuid,
                experiment_id=row.experiment_id,
                experiment=row.experiment,
                display_name=row.name or "",
                status=row.status,
                started_at=(row.start_time or 0) / 1000,
                ended_at=(row.end_time or 0) / 1000,
                hidden=row.lifecycle_stage == "deleted",
                artifact_uri=row.artifact_uri or "",
                tags=_values(connection, schema.tags, run_id),
                params=_values(connection, schema.params, run_id),
                metrics=_values(connection, schema.latest_metrics, run_id),
            )

    def default_experiment(self, workspace: str) -> int:
        """The id of the workspace's `Default` experiment: what a client that names none means by 0."""
        with self.database.write() as connection:
            return self._ensure_experiment(connection, workspace, DEFAULT_EXPERIMENT)

    def run_place(self, workspace: str, name: str) -> tuple[str, str] | None:
        """Id and artifact URI of a job's run, or of any run of the workspace by its id."""
        found = self.run(workspace, name)
        return (found.run_id, found.artifact_uri) if found else None

    def artifact_uri(self, workspace: str, run_id: str) -> str:
        """The artifact URI of a run of the workspace, '' where it has no such run."""
        found = self.run(workspace, run_id)
        return found.artifact_uri if found else ""

    def _ensure_workspace(self, connection: Connection, workspace: str, account: str) -> None:
        parsed, name = ResourceId.parse(workspace), mlflow_name(workspace)
        root = artifact_root(self.settings, parsed)
        values = {"description": str(parsed), "default_artifact_root": root}
        connection.execute(
            insert_into(connection, schema.workspaces)
            .values(name=name, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )
        connection.execute(
            insert_into(connection, schema.accounts)
            .values(workspace=name, account=account)
            .on_conflict_do_update(index_elements=["workspace"], set_={"account": account})
        )
        self._ensure_experiment(connection, workspace, DEFAULT_EXPERIMENT)

    def _ensure_experiment(self, connection: Connection, workspace: str, name: str) -> int:
        """An experiment that was deleted comes back: a job was submitted to it."""
        table, own, now = schema.experiments, mlflow_name(workspace), _milliseconds(self._clock())
        found = connection.execute(
            select(table.c.experiment_id, table.c.lifecycle_stage).where(table.c.workspace == own, table.c.name == name)
        ).first()
        if found is None:
            number = _next_experiment(connection)
            location = f"{artifact_root(self.settings, ResourceId.parse(workspace))}/{number}"
            values = {
                "experiment_id": number,
                "name": name,
                "workspace": own,
                "artifact_location": location,
                "lifecycle_stage": "active",
                "creation_time": now,
                "last_update_time": now,
            }
            if wrote(connection, insert_into(connection, table).values(values).on_conflict_do_nothing()):
                return number
            return self._ensure_experiment(connection, workspace, name)  # on PostgreSQL somebody made it meanwhile
        if found.lifecycle_stage != "active":
            connection.execute(
                update(table)
                .where(table.c.experiment_id == found.experiment_id)
                .values(lifecycle_stage="active", last_update_time=now)
            )
        return found.experiment_id

    def _row(self, run: RunSpec, run_id: str, experiment_id: int) -> dict[str, Any]:
        workspace = ResourceId.parse(run.workspace)
        return {
            "run_uuid": run_id,
            "name": (run.display_name or run.name)[:NAME_LENGTH],
            "source_type": SUBMITTED,
            "source_name": "",
            "entry_point_name": "",
            "user_id": run.user[:256],
            "status": "RUNNING",
            "start_time": _milliseconds(run.started_at or self._clock()),
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": run.artifact_uri or run_artifact_uri(self.settings, workspace, run.name),
            "experiment_id": experiment_id,
        }


def _next_experiment(connection: Connection) -> int:
    """MLflow itself keeps id 0 for its own workspace `default`, so ours never get it."""
    column = schema.experiments.c.experiment_id
    if connection.dialect.name == "sqlite":
        return (connection.scalar(select(func.max(column))) or 0) + 1
    sequence = func.pg_get_serial_sequence(schema.experiments.name, column.name)
    return connection.execute(select(func.nextval(sequence))).scalar_one()


def _begin(statement: Insert, row: dict[str, Any], again: bool) -> Insert:
    """Write the run's row; over one that began earlier only with `again`."""
    statement = statement.values(row)
    if not again:
        return statement.on_conflict_do_nothing()
    runs = schema.runs.c
    return statement.on_conflict_do_update(
        index_elements=["run_uuid"],
        set_={**row, "end_time": None, "deleted_time": None},
        where=(runs.source_type == SUBMITTED) & (runs.start_time < statement.excluded.start_time),
    )


def _forget_logged(connection: Connection, run_id: str) -> None:
    for table in schema.LOGGED:
        connection.execute(delete(table).where(table.c.run_uuid == run_id))
    connection.execute(delete(schema.logged_models).where(schema.logged_models.c.source_run_id == run_id))
    inputs = schema.inputs.c
    connection.execute(delete(schema.inputs).where((inputs.source_id == run_id) | (inputs.destination_id == run_id)))


def _tags(run: RunSpec) -> dict[str, str]:
    """What MLflow's own client would set, then the job's."""
    own = {
        "mlflow.runName": run.display_name or run.name,
        "mlflow.user": run.user,
        "mlflow.source.type": "JOB",
        "mlflow.parentRunId": run.parent,
        "mlflow.note.content": run.description,
    }
    return {key: value for key, value in own.items() if value} | dict(run.tags)


def _values(connection: Connection, table: Any, run_id: str) -> dict[str, Any]:
    return {row.key: row.value for row in connection.execute(select(table).where(table.c.run_uuid == run_id))}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
