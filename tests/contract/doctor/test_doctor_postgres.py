"""The check of the database against a real PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from fakes.machines import machine
from live.postgres import Postgres
from smalt.doctor import database
from smalt.doctor.finding import State


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.create()


def test_its_version_and_the_time_of_a_round_trip(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = database.database(machine(tmp_path, database_url=url))
    assert found.state is State.OK
    assert re.search(rf"database {make_url(url).database}, \d+\.\d+, \d+\.\d ms for a round trip$", found.fact)
    monkeypatch.setattr(database, "SLOW_MS", 0.0)
    assert database.database(machine(tmp_path, database_url=url)).state is State.WARN


def test_a_database_that_it_lacks(tmp_path: Path, postgres: Postgres) -> None:
    found = database.database(machine(tmp_path, database_url=f"{postgres.server}/lacking"))
    assert found.state is State.NO and 'database "lacking" does not exist' in found.fact


def test_a_role_that_may_not_make_mlflows_schema(tmp_path: Path, url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE poor_{make_url(url).database} LOGIN"))
        connection.execute(text(f"GRANT CREATE ON SCHEMA public TO poor_{make_url(url).database}"))
    settings = machine(tmp_path, database_url=url.replace("smalt@", f"poor_{make_url(url).database}@"))
    found = database.database(settings)
    assert found.state is State.NO and "may not make tables and the schema mlflow" in found.fact
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA mlflow"))
    engine.dispose()
    assert database.database(settings).state is State.OK
