"""Fixtures for all layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fakes.platform import Harness
    from live.postgres import Postgres


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    from fakes.platform import Harness

    made = Harness(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    from live.postgres import started

    with started() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a PostgreSQL database with the schema, to be copied."""
    from smalt.store.database import Database
    from smalt.store.migrate import migrate

    url = postgres.create()
    database = Database(url)
    migrate(database)
    database.close()
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A test that asks for it runs on both databases; '' is SQLite, in the test's own folder."""
    if request.param == "sqlite":
        yield ""
        return
    server = request.getfixturevalue("postgres")
    url = server.create(request.getfixturevalue("migrated"))
    yield url
    server.drop(url)
