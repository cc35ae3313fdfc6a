"""Edges of lineage, on SQLite and on PostgreSQL: one suite for both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from smalt.store import lineage, resources
from smalt.store.database import Database
from smalt.store.lineage import KEPT_S, End, Link, Writer
from smalt.store.migrate import migrate

JOB, DATA, DEPLOYMENT = "workspaces/jobs", "workspaces/data/versions", "workspaces/onlineendpoints/deployments"


def insert(database: Database, name: str, kind: str = JOB, at: float = 1.0, **more: Any) -> str:
    key = f"/w/{name}"
    with database.write() as connection:
        resources.insert(
            connection,
            key=key,
            written=key,
            kind=kind,
            parent="/w",
            name=name,
            spec={},
            status={},
            state="New",
            now=at,
            by="ada",
            **more,
        )
    return key


def link(database: Database, *links: Link, now: float = 5.0) -> None:
    with database.write() as connection:
        lineage.link(connection, links, now)


def remove(database: Database, key: str, now: float) -> None:
    with database.write() as connection:
        resources.remove(connection, key, now)


def up(database: Database, key: str, at: float = 1.0, most: int = 100) -> set[tuple[str, float, str]]:
    with database.read() as connection:
        found = lineage.edges(connection, [End(key, at)], upstream=True, most=most)
    return {(one.source.key, one.source.at, one.name) for one in found}


def test_an_edge_is_written_once_and_leads_from_the_first_that_is_there(database: Database) -> None:
    raw, job = insert(database, "raw", DATA, 1.25), insert(database, "job", at=2.5)
    link(database, Link(("/w/none", raw), job, lineage.INPUT, "x"), Link(("/w/none",), job, lineage.INPUT, "y"))
    link(
        database, Link((raw,), job, lineage.INPUT, "x"), Link((raw,), "/w/none", lineage.INPUT), Link((), job, "input")
    )
    link(database, Link((job,), job, lineage.INPUT, "itself"))
    assert up(database, job, 2.5) == {(raw, 1.25, "x")}
    assert up(database, job, 2.0) == set(), "another one of the name"
    with database.read() as connection:
        (down,) = lineage.edges(connection, [End(raw, 1.25)], upstream=False, most=10)
    assert (down.target, down.at, down.until) == (End(job, 2.5), 5.0, None)


def test_most_bounds_what_is_read(database: Database) -> None:
    job = insert(database, "job")
    link(database, *(Link((insert(database, f"d{number}", DATA),), job, lineage.INPUT, "x") for number in range(5)))
    assert len(up(database, job, most=3)) == 3


def test_what_was_removed_can_still_be_a_source_and_is_told_of(database: Database) -> None:
    spec = {"properties": {"command": "c", "environmentVariables": {"A": "hush"}}}
    job = insert(database, "made", at=3.5)
    with database.write() as connection:
        row = resources.get(connection, job)
        assert row is not None
        resources.replace_spec(connection, row, spec, state="Completed", now=4.0, by="ada", due=False)
    remove(database, job, 7.0)
    reader = insert(database, "reader", at=8.0)
    link(database, Link((job,), reader, lineage.INPUT, "x"))
    assert up(database, reader, 8.0) == {(job, 3.5, "x")}
    with database.read() as connection:
        (known,) = lineage.traced(connection, [End(job, 3.5), End(job, 9.0)]).values()
        assert lineage.newest_departed(connection, job) == End(job, 3.5)
        assert lineage.newest_departed(connection, reader) is None
    assert known.gone_at == 7.0 and known.row.created_by == "ada" and known.row.state == "Completed"
    assert known.row.properties == {"command": "c"}


def test_two_of_one_name_are_two(database: Database) -> None:
    version = insert(database, "v", DATA)
    for at in (2.0, 3.0):
        job = insert(database, "job", at=at)
        link(database, Link((job,), version, lineage.OUTPUT, "o"))
        remove(database, job, at + 0.5)
    assert up(database, version) == {("/w/job", 2.0, "o"), ("/w/job", 3.0, "o")}


def test_a_deployment_serves_one_model_at_a_time(database: Database) -> None:
    blue, one, two = insert(database, "blue", DEPLOYMENT), insert(database, "m1", DATA), insert(database, "m2", DATA)
    for model, now in ((one, 2.0), (two, 3.0), (one, 4.0)):
        with database.write() as connection:
            lineage.serve(connection, blue, model, now)
    with database.read() as connection:
        until = {edge.source.key: edge.until for edge in lineage.edges(connection, [End(blue, 1.0)], True, 10)}
    assert until == {one: None, two: 4.0}
    remove(database, blue, 9.0)
    with database.read() as connection:
        until = {edge.source.key: edge.until for edge in lineage.edges(connection, [End(blue, 1.0)], True, 10)}
    assert until == {one: 9.0, two: 4.0}


def test_who_wrote_to_a_place_is_found_above_and_below_it(database: Database) -> None:
    jobs = [insert(database, name) for name in ("a", "b", "c")]
    with database.write() as connection:
        rows = resources.get_many(connection, jobs)
        lineage.wrote(connection, rows[jobs[0]], {"x": "acc/con/daily", "y": "acc/con/daily-2/one"})
        lineage.wrote(connection, rows[jobs[1]], {"x": "acc/con/daily/deep"})
        lineage.wrote(connection, rows[jobs[2]], {"z": "acc/con/daily"})

    def writers(place: str) -> list[Writer]:
        with database.read() as connection:
            return lineage.writers(connection, place)

    assert writers("acc/con/daily/part/1") == [Writer(jobs[2], "z")]
    assert writers("acc/con/daily/deep/1") == [Writer(jobs[1], "x")], "the nearest"
    assert writers("acc/con/daily-2") == [Writer(jobs[0], "y")]
    assert writers("acc/con/dail") == writers("acc/other/daily") == []


def test_what_is_gone_is_forgotten_with_all_that_came_of_it(database: Database) -> None:
    raw, job, model = insert(database, "raw", DATA), insert(database, "job"), insert(database, "m", DATA)
    link(database, Link((raw,), job, lineage.INPUT, "x"), Link((job,), model, lineage.OUTPUT, "m"))
    remove(database, job, 10.0)

    def forget(now: float) -> int:
        with database.write() as connection:
            return lineage.forget(connection, now)

    assert forget(10.0 + KEPT_S - 1) == 0
    assert forget(10.0 + KEPT_S + 1) == 1, "looked at, and kept: a model came of it"
    assert up(database, model) == {(job, 1.0, "m")}
    remove(database, model, 20.0)
    remove(database, raw, 30.0)
    assert forget(30.0 + 2 * KEPT_S) == 3
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM lineage")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM departed")).scalar() == 0


def test_an_older_database_gets_the_tables(database: Database) -> None:
    with database.write() as connection:
        for name in ("lineage", "departed", "written_place"):
            connection.execute(text(f"DROP TABLE {name}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0016'"))
    migrate(database)
    job = insert(database, "job")
    link(database, Link((insert(database, "raw", DATA),), job, lineage.INPUT, "x"))
    assert len(up(database, job)) == 1
