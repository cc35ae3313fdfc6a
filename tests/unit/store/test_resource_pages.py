"""Pages and claims read what they return, however many rows there are: the order is right, and SQLite's plans use the indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import Connection

from smalt.store import claims, pages, resources
from smalt.store.claims import Lane
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.resources import Row
from smalt.store.tables import resource

PARENT, KIND = "/w", "workspaces/jobs"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'smalt.db'}")
    migrate(database)
    with database.write() as connection:
        for number in range(40):  # four of each time, every third archived
            resources.insert(
                connection,
                key=f"/w/jobs/j{number:02}",
                written=f"/w/jobs/J{number:02}",
                kind=KIND,
                parent=PARENT,
                name=f"J{number:02}",
                spec={},
                status={},
                state="Completed",
                now=100.0 + number // 4,
                by="t",
                archived=number % 3 == 0,
                due_at=50.0 if number == 7 else None,
            )
    yield database
    database.close()


def all_pages(connection: Connection, **how: object) -> list[str]:
    found: list[str] = []
    skip = None
    while True:
        page = pages.page(connection, KIND, PARENT, most=7, skip=skip, **how)  # pyright: ignore[reportArgumentType]
        found += [row.id for row in page.rows]
        skip = page.skip
        if skip is None:
            return found


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("archived", [False, True, None])
def test_pages_hold_each_row_once_in_order(database: Database, archived: bool | None, oldest_first: bool) -> None:
    wanted = [f"/w/jobs/j{at:02}" for at in range(40) if archived is None or (at % 3 == 0) == archived]
    with database.read() as connection:
        found = all_pages(connection, archived=archived, oldest_first=oldest_first)
    assert found == (wanted if oldest_first else wanted[::-1])


def test_pages_of_some_states_are_of_all_rows_in_them(database: Database) -> None:
    with database.write() as connection:
        for number in (3, 8, 31):
            connection.execute(resource.update().where(resource.c.name == f"J{number:02}").values(state="Failed"))
    with database.read() as connection:
        assert all_pages(connection, archived=None, states=("Running", "Failed")) == [
            "/w/jobs/j31",
            "/w/jobs/j08",
            "/w/jobs/j03",
        ]
        assert all_pages(connection, states=("Failed",)) == ["/w/jobs/j31", "/w/jobs/j08"]
        assert all_pages(connection, states=()) == []


def test_what_runs_often_reads_through_its_index(database: Database) -> None:
    """Seen with 100,000 jobs: the loop's look for due rows read them all, and a second page was as slow as it was deep."""
    statements: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("SELECT") and "FROM resource" in statement:
            statements.append(statement)

    with database.write() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(note)  # as SQLite gets them, with their values
        lane = Lane(frozenset({KIND, "other"}), deleting=False)
        assert claims.next_due(connection, lane) == 50.0
        assert claims.due(connection, lane, 60.0, 8) == ["/w/jobs/j07"]
        first = pages.page(connection, KIND, PARENT, most=5, archived=None)
        pages.page(connection, KIND, PARENT, most=5, archived=None, skip=first.skip)
        pages.page(connection, KIND, PARENT, most=5, skip=first.skip, states=("Queued", "Running"))
        driver.set_trace_callback(None)
        plans = [_plan(driver, statement) for statement in statements]
    due, claimed = plans[0], plans[1]
    assert "resource_due (kind=? AND due_at" in due
    assert "resource_due (kind=? AND due_at" in claimed
    assert all("resource_list (kind=? AND parent=? AND archived=?" in plan for plan in plans[2:6])
    assert all("created_at<?" in plan for plan in plans[4:])
    assert len(plans) == 8
    assert all("resource_state (kind=? AND parent=? AND archived=? AND state=?" in plan for plan in plans[6:])


def _plan(driver: sqlite3.Connection, statement: str) -> str:
    return "; ".join(str(row[3]) for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}"))


def test_a_rows_fields_are_the_tables_columns_in_their_order() -> None:
    assert [one.name for one in fields(Row)] == resource.c.keys()
