"""Fixtures for all layers, and how tests run side by side (`live/turns.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from live import turns
from live.budgets import Spent
from live.ports import free_port

if TYPE_CHECKING:
    from fakes.framed import Framed
    from fakes.platform import Harness
    from live.postgres import Postgres
TESTS = Path(__file__).parent
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else hundreds of processes compile all that they import, each time


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return turns.workers(config.args)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turns.rank(turns.group(item.path, TESTS)))


class Groups(LoadScopeScheduling):
    """What stays together goes to one worker. xdist's own `loadgroup` names groups in a way that pytest 9.2 does not show it."""

    def _split_scope(self, nodeid: str) -> str:
        return turns.group(TESTS.parent / nodeid.partition("::")[0], TESTS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


SPENT = Spent()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    SPENT.add(report.nodeid, report.duration)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if SPENT.over() and "PYTEST_XDIST_WORKER" not in os.environ:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in SPENT.lines():
        terminalreporter.write_line(line)
    for layer in SPENT.over():
        terminalreporter.write_line(f"FAILED {layer}: over its budget (tests/live/budgets.py)")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: waiting for a turn is not the test's own time
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with turns.turn(alone=item.get_closest_marker("serial") is not None):
        return (yield)


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


@pytest.fixture(scope="session")
def framed(postgres: Postgres, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Framed:
    """Databases of PostgreSQL with a group and a workspace."""
    from fakes.framed import Framed

    return Framed(postgres, migrated, tmp_path_factory.mktemp("framed"))


@pytest.fixture(params=["sqlite", "postgresql"])
def framed_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """As `database_url`, for a platform with fakes on `tmp_path`: its group and its workspace are there."""
    if request.param == "sqlite":
        yield ""
        return
    with request.getfixturevalue("framed").copied(tmp_path) as url:
        yield url


@pytest.fixture
def port() -> int:
    """For a server of this test's own."""
    return free_port()
