"""MLflow's database, SQLite and PostgreSQL: made, upgraded, followed to another address, emptied of a workspace."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.store.db.utils as stock
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import Connection, Engine, create_engine, func, inspect, select, table, text

from live.postgres import Postgres
from smalt.arm.ids import workspace_id
from smalt.arm.ports import NotReady, RunSpec
from smalt.settings import Settings
from smalt.tracking.database.migration import prepare
from smalt.tracking.database.place import SCHEMA, tables_url
from smalt.tracking.database.relocation import relocate
from smalt.tracking.runs.runs import MlflowTracking

API = "/api/2.0/mlflow"
ALPHA = workspace_id("s", "g", "alpha")


def test_a_removed_workspace_leaves_nothing(site: Any) -> None:
    gone = workspace_id(site.alpha.subscription, site.alpha.group, "gone")
    site.known.add(gone.key)
    before = rows(site)
    site.tracking.ensure_run(RunSpec(gone.key, "gone-job", "gone-experiment", tags={"a": "b"}))
    with site.client(gone) as client:
        info = client.get(f"{API}/runs/get", params={"run_id": "gone-job"}).json()["run"]["info"]
        client.post(
            f"{API}/runs/log-batch",
            json={
                "run_id": "gone-job",
                "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
                "params": [{"key": "p", "value": "1"}],
            },
        ).raise_for_status()
        client.post(
            f"{API}/logged-models",
            json={
                "experiment_id": info["experiment_id"],
                "name": "m",
                "source_run_id": "gone-job",
                "tags": [{"key": "a", "value": "b"}],
            },
        ).raise_for_status()
        client.post(
            f"{API}/registered-models/create", json={"name": "gone-model", "tags": [{"key": "a", "value": "b"}]}
        ).raise_for_status()
        client.post(
            f"{API}/model-versions/create",
            json={"name": "gone-model", "source": f"{info['artifact_uri']}/m", "run_id": "gone-job"},
        ).raise_for_status()
        assert rows(site) != before
        site.tracking.remove_workspace(gone.key)
        assert rows(site) == before
        site.known.discard(gone.key)
        assert client.get(f"{API}/runs/get", params={"run_id": "gone-job"}).status_code == 404


def rows(site: Any) -> dict[str, int]:
    with site.tracking.database.read() as connection:
        return counted(connection)


def counted(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = inspect(connection).get_table_names()
    return {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in names}


def test_artifacts_follow_the_platform_to_another_port(site: Any) -> None:
    site.tracking.ensure_run(RunSpec(site.alpha.key, "moved", "churn"))
    places = (("experiments", "artifact_location"), ("workspaces", "default_artifact_root"), ("runs", "artifact_uri"))
    try:
        with site.tracking.database.write() as connection:
            relocate(connection, replace(site.settings, port=1))
        with site.tracking.database.read() as connection:
            for name, column in places:
                uris = connection.scalars(text(f"SELECT {column} FROM {name} WHERE {column} LIKE '%/subscriptions/%'"))
                found = list(uris)
                assert found and all(uri.startswith("https://localhost:1/mlflow/v1.0/subscriptions/") for uri in found)
    finally:
        with site.tracking.database.write() as connection:
            relocate(connection, site.settings)


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_an_upgrade_that_was_cut_short_starts_again_from_what_was(site: Any, tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    path = settings.mlflow_database
    with sqlite3.connect(site.settings.mlflow_database) as source, sqlite3.connect(path) as target:
        source.backup(target)
    whole = json.dumps(sorted(rows_of(path).items()))
    with sqlite3.connect(path) as old, sqlite3.connect(tmp_path / "mlflow.db.before-upgrade") as backup:
        old.backup(backup)
        old.execute("PRAGMA user_version=0")
        old.execute("DROP TABLE tags")  # half-way through
    prepare(settings)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    assert json.dumps(sorted(rows_of(path).items())) == whole


def rows_of(path: Path) -> dict[str, int]:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = counted(connection)
    engine.dispose()
    return found


def test_on_postgresql_two_that_start_at_once_make_one_schema_beside_what_is_there(
    postgres: Postgres, tmp_path: Path
) -> None:
    settings = Settings(tmp_path, database_url=postgres.create())
    engine = create_engine(settings.database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))  # the platform's own
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(prepare, settings) for _ in range(2)]:
            one.result()
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert {"runs", "smalt_accounts"} <= set(inspect(engine).get_table_names(SCHEMA))
    with engine.connect() as connection:
        assert not connection.scalar(text("SELECT count(*) FROM alembic_version"))
    assert 0 in (wal_bytes(engine, lambda: prepare(settings)) for _ in range(5)), "a start that changes nothing wrote"
    engine.dispose()


def wal_bytes(engine: Engine, do: Callable[[], object]) -> int:
    """What came into the journal of the server meanwhile; now and then it writes something itself."""
    at = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    with engine.connect() as connection:
        before = connection.scalar(at)
    do()
    with engine.connect() as connection:
        return int(connection.scalar(at)) - int(before)


def test_on_postgresql_an_older_schema_is_upgraded_with_its_rows(postgres: Postgres, tmp_path: Path) -> None:
    settings = Settings(tmp_path, database_url=postgres.create())
    tracking = MlflowTracking(settings, lambda workspace: "acct")
    prepare(settings)
    tracking.ensure_run(RunSpec(ALPHA.key, "job-1", "churn", tags={"a": "b"}))
    with tracking.database.write() as connection:
        connection.execute(text("DELETE FROM smalt_ready"))  # killed, with the schema of another version half made
        connection.execute(text("DROP TABLE smalt_changed_runs CASCADE"))
        connection.execute(text("DROP FUNCTION smalt_run_tagged CASCADE"))
    with pytest.raises(NotReady):
        tracking.run(ALPHA.key, "job-1")
    prepare(settings)
    found = tracking.run(ALPHA.key, "job-1")
    assert found is not None and found.tags["a"] == "b"
    assert [run for _, run in tracking.changed_runs(10)] == ["job-1"]
    tracking.database.close()


def test_on_postgresql_mlflows_migrations_run_over_what_we_added(postgres: Postgres, tmp_path: Path) -> None:
    settings = Settings(tmp_path, database_url=postgres.create())
    plain = create_engine(settings.database.replace("postgresql:", "postgresql+psycopg:"))
    with plain.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    plain.dispose()
    engine = create_engine(tables_url(settings))
    Base.metadata.create_all(engine)
    config = stock._get_alembic_config("")
    head, before, *_ = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
    assert stock._get_schema_version(engine) == before
    prepare(settings)
    assert stock._get_schema_version(engine) == head
    tracking = MlflowTracking(settings, lambda workspace: "acct")
    name = "j" * 255  # a job's name may be that long
    tracking.ensure_run(RunSpec(ALPHA.key, name, "churn"))
    assert [run for _, run in tracking.changed_runs(10)] == [name]
    tracking.database.close()
    engine.dispose()
