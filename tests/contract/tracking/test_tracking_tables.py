"""MLflow's tables as the server makes and completes them when it starts, without MLflow's process."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from live.postgres import Postgres
from smalt.arm.ports import RunSpec
from smalt.cli.root import remember
from smalt.settings import Settings
from smalt.tracking.database import start
from smalt.tracking.database.migration import prepare, script
from smalt.tracking.database.place import tables_url
from smalt.tracking.process.mlflow_server import command
from smalt.tracking.runs.runs import MlflowTracking

NEWEST = "smalt_runs_newest"
WORKSPACE = "/subscriptions/1/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"


def read(path: Path, query: str) -> Sequence[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def lines(statements: str) -> Sequence[str]:
    return sorted(line.strip().rstrip(",") for line in statements.splitlines())


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_they_are_what_the_migrations_of_this_mlflow_make() -> None:
    """But for the order of indexes and constraints, which the migrations leave to chance."""
    assert lines(start.TABLES.read_text()) == lines(script()), "run scripts/mlflow_tables"


def test_a_new_file_is_complete_and_private(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    (tmp_path / "mlflow.db.new").write_text("of a start that was cut short")
    assert start.settle(settings)
    path = settings.mlflow_database
    assert path.stat().st_mode & 0o777 == 0o600 and [one.name for one in tmp_path.iterdir()] == ["mlflow.db"]
    assert read(path, "PRAGMA journal_mode") == [("wal",)]
    before = path.read_bytes()
    prepare(settings)  # as MLflow's process does when it starts
    tables = "SELECT name, sql FROM sqlite_master ORDER BY name"
    assert len(read(path, tables)) > 100
    assert start.settle(settings) and len(path.read_bytes()) == len(before)
    tracking = MlflowTracking(settings, lambda workspace: "acct")
    tracking.ensure_run(RunSpec(WORKSPACE, "job", "e"))
    assert [run.run_id for run in tracking.read_runs(["job"])] == ["job"]
    tracking.database.close()


def test_what_is_not_as_it_should_be_is_left_to_mlflows_process(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "good")
    settings.root.mkdir()
    assert start.settle(settings)
    for number, statement in enumerate(
        (
            "UPDATE alembic_version SET version_num = 'older'",
            "DROP TRIGGER smalt_run_made",
            "DROP TABLE smalt_accounts",
            "PRAGMA user_version = 0",
            "DROP TABLE alembic_version",
        )
    ):
        other = Settings(tmp_path / str(number))
        shutil.copytree(settings.root, other.root)
        change(other.mlflow_database, statement)
        before = other.mlflow_database.read_bytes()
        assert not start.settle(other), statement
        assert other.mlflow_database.read_bytes() == before, statement


def test_a_full_disk_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(start, "_fill", full)
        assert not start.settle(Settings(tmp_path))
        assert not (tmp_path / "mlflow.db").exists()
    assert start.settle(Settings(tmp_path))


def test_artifacts_follow_the_platform_to_another_address(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    assert start.settle(settings)
    tracking = MlflowTracking(settings, lambda workspace: "acct")
    tracking.ensure_run(RunSpec(WORKSPACE, "job", "e"))
    tracking.database.close()
    moved = replace(settings, host="ml.example", port=9443)
    assert start.settle(moved)
    for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
        uris = [uri for (uri,) in read(settings.mlflow_database, f"SELECT {column} FROM {table}") if uri]
        assert uris and all(uri.startswith("https://ml.example:9443/mlflow/v1.0/subscriptions/1/") for uri in uris)


def test_postgresql_is_ready_once_mlflows_process_has_been_there(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path, database_url=postgres.create())
    assert not start.settle(settings)
    prepare(settings)
    engine = create_engine(tables_url(settings))
    assert NEWEST in {one["name"] for one in inspect(engine).get_indexes("runs")}
    assert start.settle(settings)
    assert start.settle(replace(settings, port=9443))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP INDEX {NEWEST}")
    with engine.begin() as connection:  # a job logs
        connection.exec_driver_sql("LOCK TABLE runs IN ROW EXCLUSIVE MODE")
        monkeypatch.setattr(start, "_LOCK_WAIT", "50ms")
        assert start.settle(settings), "a start does not fail for it"
    monkeypatch.setattr(start, "_LOCK_WAIT", "60s")
    with ThreadPoolExecutor() as starts:
        assert all(starts.map(start.settle, [settings] * 3))
    assert NEWEST in {one["name"] for one in inspect(engine).get_indexes("runs")}
    engine.dispose()


def test_mlflows_process_that_was_started_to_make_tables_is_gone_once_they_are(
    postgres: Postgres, tmp_path: Path
) -> None:
    """As a first start on PostgreSQL needs it: 250 MB that nobody asks anything of would stay."""
    settings = Settings(tmp_path, database_url=postgres.create())
    remember(settings)
    assert not start.settle(settings)
    subprocess.run(command(settings), check=True, timeout=120)
    assert start.settle(settings) and not settings.mlflow_socket.exists()


def test_it_says_whether_there_was_anything_to_make(postgres: Postgres, tmp_path: Path) -> None:
    """By that its process knows what it was started for: tables that are as they should be are no reason."""
    for settings in (Settings(tmp_path), Settings(tmp_path, database_url=postgres.create())):
        assert [prepare(settings) for _ in range(3)] == [True, False, False]
    older = Settings(tmp_path)
    for statement in ("DROP TRIGGER smalt_run_made", "DROP TABLE smalt_accounts", "PRAGMA user_version = 0"):
        change(older.mlflow_database, statement)
        assert [prepare(older), prepare(older)] == [True, False], statement
