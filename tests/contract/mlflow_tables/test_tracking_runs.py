"""Jobs as runs, in real SQLite with the tables that we declare (the contract tests use MLflow's own)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Table, func, select

from fakes import mlflow_tables
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.ports import NotReady, RunChanges, RunSpec
from smalt.settings import Settings
from smalt.tracking.address import artifact_root, mlflow_name, run_artifact_uri
from smalt.tracking.database import schema
from smalt.tracking.database.own_tables import set_ready
from smalt.tracking.models.logged_models import place_logged_model
from smalt.tracking.runs.runs import MlflowTracking

ALPHA = workspace_id("s", "g", "alpha")
BETA = workspace_id("s", "g", "beta")
JOB = RunSpec(ALPHA.key, "job-1", "churn", "First try", "ada", {"team": "x"}, started_at=1000.5, parent="root-job")


@pytest.fixture
def tracking(settings: Settings) -> Iterator[MlflowTracking]:
    made = MlflowTracking(settings, lambda workspace: "acct" + ResourceId.parse(workspace).name, lambda: 2000.0)
    yield made
    made.database.close()


def test_a_job_becomes_a_run_of_its_name(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    run = tracking.run(ALPHA.key, "job-1")
    assert run is not None
    assert (run.run_id, run.experiment, run.display_name, run.status) == ("job-1", "churn", "First try", "RUNNING")
    assert (run.started_at, run.ended_at, run.hidden) == (1000.5, 0, False)
    assert run.artifact_uri == run_artifact_uri(tracking.settings, ResourceId.parse(ALPHA.key), "job-1")
    assert run.tags == {
        "mlflow.runName": "First try",
        "mlflow.user": "ada",
        "mlflow.source.type": "JOB",
        "mlflow.parentRunId": "root-job",
        "team": "x",
    }


def test_again_changes_nothing(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.end_run(ALPHA.key, "job-1", "FAILED", 1500.0)
    before = tracking.run(ALPHA.key, "job-1")
    tracking.ensure_run(replace(JOB, display_name="Other", tags={"team": "y"}))
    assert tracking.run(ALPHA.key, "job-1") == before
    assert before is not None and (before.status, before.ended_at) == ("FAILED", 1500.0)


def test_a_job_that_has_the_name_of_a_deleted_one_begins_a_run_of_its_own(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    log_everything(tracking, "job-1")
    tracking.end_run(ALPHA.key, "job-1", "FAILED", 1500.0)
    tracking.change_run(ALPHA.key, "job-1", RunChanges(hidden=True))
    again = replace(JOB, experiment="other", display_name="Second try", tags={"team": "y"}, started_at=1600.0)
    tracking.ensure_run(again)
    run = tracking.run(ALPHA.key, "job-1")
    assert run is not None and run.run_id == tracking.run_id(ALPHA.key, "job-1") == "job-1"
    assert (run.experiment, run.display_name, run.status) == ("other", "Second try", "RUNNING")
    assert (run.started_at, run.ended_at, run.hidden) == (1600.0, 0, False)
    assert (run.params, run.metrics, run.tags["team"]) == ({}, {}, "y")
    assert "smalt.hidden" not in run.tags
    assert [logged(tracking, table) for table in (schema.metrics, schema.inputs, schema.logged_models)] == [0, 0, 0]
    log_everything(tracking, "job-1")
    for same_or_stale in (again, JOB, replace(JOB, started_at=0)):
        tracking.ensure_run(same_or_stale)
    assert [logged(tracking, table) for table in (schema.metrics, schema.inputs, schema.logged_models)] == [1, 2, 1]


def test_a_run_that_mlflow_made_is_never_begun_anew(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    with tracking.database.write() as connection:
        connection.execute(schema.runs.update().values(source_type="UNKNOWN"))
    before = tracking.run(ALPHA.key, "job-1")
    tracking.ensure_run(replace(JOB, display_name="Other", started_at=1600.0))
    assert tracking.run(ALPHA.key, "job-1") == before


def log_everything(tracking: MlflowTracking, run: str) -> None:
    with tracking.database.write() as connection:
        metric = {"key": "m", "value": 1.0, "run_uuid": run}
        for table in (schema.latest_metrics, schema.metrics):
            connection.execute(table.insert().values(**metric, timestamp=1, step=1, is_nan=False))
        connection.execute(schema.params.insert().values(key="p", value="1", run_uuid=run))
        for ends in (("DATASET", "d", "RUN_INPUT", run), ("RUN_OUTPUT", run, "MODEL_OUTPUT", "m-1")):
            connection.execute(schema.inputs.insert().values((*ends, 0, ends[1])))
    add_model(tracking, "m-1", run)


def logged(tracking: MlflowTracking, table: Table) -> int:
    with tracking.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_at_once_from_many_threads_it_is_one_run(tracking: MlflowTracking) -> None:
    threads = [
        threading.Thread(target=tracking.ensure_run, args=(replace(JOB, name=f"job-{n % 3}"),)) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tracking.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.runs)) == 3
        assert connection.scalar(select(func.count()).select_from(schema.experiments)) == 2


def test_the_end_is_ours(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.end_run(ALPHA.key, "job-1", "FINISHED", 1100.0)  # as the script's own mlflow.end_run()
    tracking.end_run(ALPHA.key, "job-1", "KILLED", 1200.0)
    run = tracking.run(ALPHA.key, "job-1")
    assert run is not None and (run.status, run.ended_at) == ("KILLED", 1200.0)
    with pytest.raises(ArmError):
        tracking.end_run(ALPHA.key, "job-1", "Completed", 1200.0)
    tracking.end_run(ALPHA.key, "unknown", "FINISHED", 1.0)
    tracking.end_run(ALPHA.key, "unknown", "FINISHED", 1.0, {"lr": "0.1"})
    assert tracking.parameters(ALPHA.key, "unknown") == {}


def test_update(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.change_run(ALPHA.key, "job-1", RunChanges("Better name", {"team": "y", "new": "z" * 9000, "none": None}))
    tracking.change_run(ALPHA.key, "job-1", RunChanges())
    assert tracking.change_run(ALPHA.key, "unknown", RunChanges("x", {"a": "b"}, True)) is None
    run = tracking.run(ALPHA.key, "job-1")
    assert run is not None
    assert (run.display_name, run.tags["mlflow.runName"], run.tags["team"]) == ("Better name", "Better name", "y")
    assert len(run.tags["new"]) == 8000
    tracking.change_run(ALPHA.key, "job-1", RunChanges(tags={"team": None}))
    changed = tracking.run(ALPHA.key, "job-1")
    assert changed is not None and "team" not in changed.tags and changed.display_name == "Better name"


def test_a_run_is_not_hidden_while_it_runs_so_that_it_can_still_be_logged_to(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    hidden = RunChanges(hidden=True)
    assert tracking.change_run(ALPHA.key, "job-1", hidden) == RunChanges()
    running = tracking.run(ALPHA.key, "job-1")
    tracking.end_run(ALPHA.key, "job-1", "FINISHED", 1100.0)
    assert tracking.change_run(ALPHA.key, "job-1", hidden) == hidden
    ended = tracking.run(ALPHA.key, "job-1")
    tracking.change_run(ALPHA.key, "job-1", RunChanges(hidden=False))
    restored = tracking.run(ALPHA.key, "job-1")
    assert running and ended and restored
    assert (running.hidden, ended.hidden, restored.hidden) == (False, True, False)


def test_a_run_that_is_removed_leaves_nothing(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.ensure_run(replace(JOB, name="job-2"))
    tracking.remove_run(ALPHA.key, "job-1")
    tracking.remove_run(ALPHA.key, "unknown")
    assert tracking.run(ALPHA.key, "job-1") is None and tracking.run(ALPHA.key, "job-2") is not None
    with tracking.database.read() as connection:
        assert connection.scalar(select(func.count()).where(schema.tags.c.run_uuid == "job-1")) == 0


def test_one_name_in_two_workspaces_is_two_runs(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.ensure_run(replace(JOB, workspace=BETA.key, display_name="Beta's"))
    tracking.end_run(BETA.key, "job-1", "FAILED", 1100.0)
    tracking.change_run(BETA.key, "job-1", RunChanges(tags={"own": "beta"}))
    alpha, beta = tracking.run(ALPHA.key, "job-1"), tracking.run(BETA.key, "job-1")
    assert alpha and beta
    assert (alpha.run_id, alpha.status, alpha.display_name) == ("job-1", "RUNNING", "First try")
    assert (beta.status, beta.display_name, beta.tags["own"]) == ("FAILED", "Beta's", "beta")
    assert beta.run_id == tracking.run_id(BETA.key, "job-1") != "job-1"
    assert beta.artifact_uri.endswith("/workspaces/beta/api/2.0/mlflow-artifacts/artifacts/ExperimentRun/dcid.job-1")
    assert tracking.run(BETA.key, "job-1-unknown") is None


def test_a_run_keeps_its_id_when_the_other_workspace_is_gone(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    tracking.ensure_run(replace(JOB, workspace=BETA.key))
    second = tracking.run_id(BETA.key, "job-1")
    tracking.remove_workspace(ALPHA.key)
    with tracking.database.write() as connection:  # the tables here have no foreign keys that would take it along
        connection.execute(schema.runs.delete().where(schema.runs.c.run_uuid == "job-1"))
    assert tracking.run_id(BETA.key, "job-1") == second
    tracking.ensure_run(replace(JOB, workspace=ALPHA.key))
    assert (tracking.run_id(BETA.key, "job-1"), tracking.run_id(ALPHA.key, "job-1")) == (second, "job-1")


def test_no_job_takes_the_id_that_another_workspaces_run_has_or_will_have(tracking: MlflowTracking) -> None:
    tracking.ensure_run(replace(JOB, workspace=BETA.key))
    second = tracking.run_id(ALPHA.key, "job-1")
    crafted = list[str]()
    for wanted in (second, f"job-1-{sha256(mlflow_name(ALPHA.key).encode()).hexdigest()}"):
        tracking.ensure_run(replace(JOB, workspace=BETA.key, name=wanted))
        crafted.append(wanted)
    tracking.ensure_run(JOB)
    tracking.log_metric(ALPHA.key, "job-1", "loss", 0.5, 1000.0, 1)
    assert tracking.run(ALPHA.key, "job-1") is not None
    assert tracking.job_names(ALPHA.key, [tracking.run_id(ALPHA.key, "job-1")]) == ["job-1"]
    for wanted in crafted:
        assert tracking.run(BETA.key, wanted) is not None and not tracking.latest_metrics(BETA.key, wanted)
        tracking.remove_run(BETA.key, wanted)
    assert [name for name, _, _ in tracking.latest_metrics(ALPHA.key, "job-1")] == ["loss"]


def test_a_jobs_name_that_ends_in_a_date_is_its_runs_id(tracking: MlflowTracking) -> None:
    tracking.ensure_run(replace(JOB, name="train-20261127"))
    assert tracking.run_id(ALPHA.key, "train-20261127") == "train-20261127"


def test_a_workspace_has_its_default_experiment_and_account(tracking: MlflowTracking) -> None:
    tracking.ensure_workspace(ALPHA.key)
    tracking.ensure_workspace(ALPHA.key)
    assert tracking.default_experiment(ALPHA.key) == 1
    with tracking.database.read() as connection:
        row = connection.execute(select(schema.workspaces)).one()
        account = connection.execute(select(schema.accounts)).one()
    assert (row.name, row.description) == (mlflow_name(ALPHA), str(ResourceId.parse(ALPHA.key)))
    assert row.default_artifact_root == artifact_root(tracking.settings, ResourceId.parse(ALPHA.key))
    assert account.account == "acctalpha"


def test_an_experiment_that_was_deleted_comes_back_with_a_job(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    with tracking.database.write() as connection:
        connection.execute(schema.experiments.update().values(lifecycle_stage="deleted"))
    tracking.ensure_run(replace(JOB, name="job-2"))
    with tracking.database.read() as connection:
        stage = connection.scalar(
            select(schema.experiments.c.lifecycle_stage).where(schema.experiments.c.name == "churn")
        )
    assert stage == "active"


def test_not_ready_until_the_schema_is_complete(tmp_path: Path, database_url: str) -> None:
    settings = Settings(tmp_path, database_url=database_url)
    tracking = MlflowTracking(settings, lambda workspace: "acct")
    if settings.postgresql:
        mlflow_tables.drop(settings)
    with pytest.raises(NotReady, match="making"):
        tracking.ensure_run(JOB)
    assert not settings.mlflow_database.exists()
    mlflow_tables.make(settings)
    tracking.ensure_run(JOB)
    with tracking.database.write() as connection:
        set_ready(connection, "")  # an upgrade begins
    with pytest.raises(NotReady, match="upgrading"):
        tracking.end_run(ALPHA.key, "job-1", "FINISHED", 1.0)
    assert not tracking.database.ready()
    tracking.database.close()


class FakeFolder:
    def __init__(self) -> None:
        self.renamed: list[tuple[str, str]] = []

    def rename(self, name: str, to: str) -> None:
        self.renamed.append((name, to))


def add_model(tracking: MlflowTracking, model_id: str, run: str | None, name: str = "model") -> None:
    with tracking.database.write() as connection:
        connection.execute(
            schema.logged_models.insert().values(
                model_id=model_id, experiment_id=1, name=name, artifact_location=f"x/{model_id}", source_run_id=run
            )
        )


def test_a_logged_model_lies_with_its_run_and_the_latest_has_the_name(tracking: MlflowTracking) -> None:
    tracking.ensure_run(JOB)
    folder = FakeFolder()
    place = lambda model_id, workspace=ALPHA: place_logged_model(  # noqa: E731
        tracking.database,
        workspace.key,
        model_id,
        lambda: folder,  # type: ignore[arg-type,return-value]
    )
    run = tracking.artifact_uri(ALPHA.key, "job-1")
    for model_id in ("m-1", "m-2"):
        add_model(tracking, model_id, "job-1")
    add_model(tracking, "m-3", None)
    assert place("m-1") == place("m-1") == f"{run}/model"
    assert folder.renamed == []
    assert place("m-2") == f"{run}/model"
    assert folder.renamed == [("ExperimentRun/dcid.job-1/model", "model.m-1")]
    assert place("m-3") is None
    assert place("m-2", BETA) is None
    with tracking.database.read() as connection:
        rows = connection.execute(
            select(schema.logged_models.c.model_id, schema.logged_models.c.artifact_location)
        ).all()
    assert dict(map(tuple, rows)) == {"m-1": f"{run}/model.m-1", "m-2": f"{run}/model", "m-3": "x/m-3"}
