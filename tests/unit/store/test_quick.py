"""Statements on SQLite's own connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from fakes.databases import with_schema
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.quick import QuickSelect, execute
from smalt.store.tables import resource


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return with_schema(tmp_path / "smalt.db")


def test_failures_are_those_of_sqlalchemy(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("CREATE TABLE one (name TEXT UNIQUE)"))
        assert execute(connection, "INSERT INTO one VALUES (?)", ("a",)) == []
        with pytest.raises(IntegrityError, match="UNIQUE"):
            execute(connection, "INSERT INTO one VALUES (?)", ("a",))
        with pytest.raises(OperationalError, match="no such table") as failed:
            execute(connection, "SELECT * FROM another")
        assert failed.value.statement == "SELECT * FROM another"


def test_a_quick_statement_is_in_the_transaction_of_all_others(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as connection:
        execute(connection, "CREATE TABLE one (name TEXT)")
        connection.execute(text("INSERT INTO one VALUES ('a')"))
        assert execute(connection, "SELECT name FROM one") == [("a",)]
        raise RuntimeError
    with database.read() as connection, pytest.raises(OperationalError, match="no such table"):
        execute(connection, "SELECT name FROM one")


def test_parameters_have_names(database: Database) -> None:
    either = QuickSelect(select(resource.c.id).where(resource.c.id.in_([bindparam("first"), bindparam("second")])))
    with database.read() as connection:
        assert either.rows(connection, {"first": "a", "second": "b"}) == []


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reading:
        assert resources.get(reading, "/w/a") is None
        with database.write() as writing:
            resources.insert(
                writing,
                key="/w/a",
                written="/w/a",
                kind="jobs",
                parent="/w",
                name="a",
                spec={},
                status={},
                state="New",
                now=1.0,
                by="ada",
            )
            assert resources.get(writing, "/w/a") is not None
        assert resources.get(reading, "/w/a") is None
