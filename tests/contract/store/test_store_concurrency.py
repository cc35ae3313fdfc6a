"""Several writers of one row, of one node, of one list of versions: nothing is lost and nothing is given out twice.

Each test runs many rounds on SQLite and on PostgreSQL, with the writers let go at the same moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, select

from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from fakes.rows import apply, insert, read
from smalt.arm.kind import BULK, CLEANUP, CONTROL, SERVING
from smalt.sched import placement
from smalt.sched.want import Want
from smalt.store import claims, resources, shared_work
from smalt.store.database import Collision, Database
from smalt.store.resources import Lock, Row
from smalt.store.tables import shared_work as shared_work_table

ROUNDS = 200
LAKE = "azureml://datastores/workspaceblobstore/paths/x/"
LAKE_FOLDER = {"properties": {"dataUri": LAKE, "dataType": "uri_folder"}}


@pytest.fixture
def harness(tmp_path: Path, framed_url: str) -> Iterator[Harness]:
    made = Harness(tmp_path, database_url=framed_url)
    yield made
    made.close()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each returned, or the exception that it raised."""
    gate, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[number] = call()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def leased(database: Database, key: str, lease: str = "mine") -> Row:
    with database.write() as connection:
        (row,) = claims.claim(connection, [key], 10.0, lease, 30.0)
    return row


def test_of_writers_that_read_the_same_generation_one_wins(database: Database) -> None:
    for number in range(ROUNDS):
        key = f"/w/{number}"
        insert(database, key)
        row = read(database, key)

        def write(by: str, row: Row = row) -> bool:
            with database.write() as connection:
                resources.replace_spec(connection, row, {"by": by}, state="New", now=2.0, by=by, due=False)
            return True

        results = at_once(*(lambda by=by: write(by) for by in "abcd"))
        assert results.count(True) == 1 and read(database, key).generation == 2, results


def test_a_status_keeps_what_a_step_and_others_wrote(database: Database) -> None:
    """A step that is under way and two who note something in the same row."""
    for number in range(ROUNDS):
        key = f"/w/{number}"
        insert(database, key, due_at=1.0, status={"account": "x"})
        row = leased(database, key)

        def note(name: str, key: str = key) -> None:
            with database.write() as connection:
                resources.merge_status(connection, key, {name: True})

        results = at_once(
            lambda row=row: apply(database, row, {**row.status, "found": 1}), lambda: note("a"), lambda: note("b")
        )
        assert results == [True, None, None]
        assert read(database, key).status == {"account": "x", "found": 1, "a": True, "b": True}


def test_a_write_and_a_step_at_once_are_one_before_the_other(database: Database) -> None:
    """All or nothing of a step that was overtaken; a final one counts whole, and the write stays too."""
    for number in range(ROUNDS):
        key, final = f"/w/{number}", bool(number % 2)
        insert(database, key, due_at=1.0)
        row = leased(database, key)

        def change(key: str = key) -> None:
            with database.write() as connection:
                current = resources.get(connection, key, Lock.WRITE)
                assert current is not None
                resources.replace_spec(
                    connection, current, {"tags": 1}, state=current.state, now=11.0, by="b", due=True
                )

        kept, changed = at_once(lambda row=row, final=final: apply(database, row, {"found": 1}, final=final), change)
        after = read(database, key)
        assert changed is None and after.spec == {"tags": 1} and after.generation == 2 and after.due_at is not None
        assert (after.state, after.status) == (("Done", {"found": 1}) if kept else ("New", {}))
        assert kept is True or not final


def test_a_node_is_never_given_to_two(database: Database) -> None:
    for number in range(ROUNDS):
        compute = f"/w/c{number}"
        with database.write() as connection:
            placement.ensure_least(connection, compute, 1, 1.0)

        def take(owner: str, since: float, compute: str = compute) -> list[int] | None:
            with database.write() as connection:
                given = placement.acquire(connection, Want(compute, owner, 1, 2, since), 0, 2.0)
                return given and [one.node for one in given]

        owners = [f"/w/j{number}-{one}" for one in range(4)]
        at_once(*(lambda owner=owner, at=at: take(owner, float(at)) for at, owner in enumerate(owners)))
        got = [take(owner, float(at)) for at, owner in enumerate(owners)]  # those that met others ask again
        nodes = [node for nodes in got if nodes for node in nodes]
        assert len(nodes) == len(set(nodes)) == 2
        with database.read() as connection:
            held = [node.owner for node in placement.nodes(connection, compute)]
        assert len({owner for owner in held if owner}) == 2


def test_a_waiter_is_woken_or_sees_the_end(database: Database) -> None:
    for number in range(ROUNDS):
        build, job = f"/w/build{number}", f"/w/job{number}"
        insert(database, build, due_at=1.0)
        insert(database, job)
        row = leased(database, build)

        def wait(build: str = build, job: str = job) -> None:
            with database.write() as connection:
                resources.wait_for(connection, job, [build], 40.0)

        assert at_once(lambda row=row: apply(database, row, {}), wait) == [True, None]
        assert read(database, job).due_at in (40.0, 50.0)


def test_a_late_step_ends_only_its_own_lease(harness: Harness) -> None:
    """The row was claimed again meanwhile: the new holder's heartbeat goes on."""
    submit(harness)
    key = f"{JOBS}/train-1".lower()
    lanes = {SERVING: 1, CONTROL: 1, CLEANUP: 1, BULK: 1}
    for _ in range(ROUNDS):
        with harness.database.write() as connection:
            resources.poke(connection, [key], harness.clock())
        (late,) = harness.loop.claim(lanes)
        harness.clock.pass_(31)
        (fresh,) = harness.loop.claim(lanes)
        heart = harness.loop.heartbeat
        heart.drop(late)
        harness.clock.pass_(20)
        heart.beat()
        harness.clock.pass_(20)
        assert harness.loop.claim(lanes) == [], "its lease was kept"
        with harness.database.write() as connection:
            assert claims.apply(
                connection,
                fresh,
                status=fresh.status,
                state=fresh.state,
                due_at=None,
                failures=0,
                now=harness.clock(),
                reason="",
                ended=False,
            )
        heart.drop(fresh)


def test_one_of_the_puts_with_the_same_etag_wins(harness: Harness) -> None:
    url = f"{WORKSPACE}/data/d/versions/1"

    def put(**tags: str) -> Any:
        return {"properties": {"dataUri": LAKE, "dataType": "uri_folder", "tags": tags}}

    assert harness.put(url, put()).status_code == 201
    for _ in range(ROUNDS):
        tag = harness.get(url).headers["etag"]
        results = at_once(
            *(lambda by=by, tag=tag: harness.put(url, put(by=by), If_Match=tag).status_code for by in "abc")
        )
        assert sorted(results) == [200, 412, 412]


def test_versions_that_come_at_once_are_all_counted(harness: Harness) -> None:
    for number in range(ROUNDS // 4):
        urls = [f"{WORKSPACE}/data/d{number}/versions/{version}" for version in range(1, 5)]
        results = at_once(*(lambda url=url: harness.put(url, LAKE_FOLDER).status_code for url in urls))
        assert results == [201] * 4
        shown = harness.get(f"{WORKSPACE}/data/d{number}").json()["properties"]
        listed = harness.get(f"{WORKSPACE}/data/d{number}/versions").json()["value"]
        assert shown["nextVersion"] == "5" and shown["latestVersion"] == listed[0]["name"] and len(listed) == 4


def test_what_is_made_below_a_delete_is_refused_or_goes_with_it(harness: Harness) -> None:
    for number in range(ROUNDS // 4):
        home = f"{WORKSPACE}-{number}"
        harness.put(home, {"location": "local", "properties": {}})
        harness.settle()
        made, deleted = at_once(
            lambda home=home: harness.put(f"{home}/data/late/versions/1", LAKE_FOLDER).status_code,
            lambda home=home: harness.send("DELETE", home).status_code,
        )
        assert made in (201, 409) and deleted == 202
        harness.settle()
        with harness.database.read() as connection:
            assert resources.children(connection, home.lower()) == []
            assert resources.get(connection, f"{home}/data/late/versions/1") is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # one writer makes no circles
def test_a_transaction_that_waits_in_a_circle_is_told(database: Database) -> None:
    insert(database, "/w/a")
    insert(database, "/w/b")
    inside = threading.Barrier(2)

    def lock(first: str, second: str) -> None:
        with database.write() as connection:
            resources.get(connection, first, Lock.WRITE)
            inside.wait()
            resources.get(connection, second, Lock.WRITE)

    results = at_once(lambda: lock("/w/a", "/w/b"), lambda: lock("/w/b", "/w/a"))
    assert [type(one) for one in results].count(Collision) == 1 and results.count(None) == 1


def test_a_piece_of_work_has_one_that_does_it(database: Database) -> None:
    """When nobody does it, and when the one that did has ended without a result."""
    for number in range(ROUNDS):
        jobs = [f"/w/{number}-{letter}" for letter in "abcd"]
        for job in jobs:
            insert(database, job)
        failed = set[str]()

        def claim(job: str, number: int = number, failed: set[str] = failed) -> str:
            with database.write() as connection:
                holder = shared_work.claim(connection, f"work-{number}", job, lambda row: row.id not in failed)
                return job if holder is None else holder.id

        (first,) = set(at_once(*(lambda job=job: claim(job) for job in jobs)))
        failed.add(first)
        (second,) = set(at_once(*(lambda job=job: claim(job) for job in jobs if job != first)))
        assert first in jobs and second in jobs and first != second
    with database.write() as connection:
        resources.remove(connection, second, 1.0)
        assert not connection.execute(select(shared_work_table).where(shared_work_table.c.job == second)).all()


def test_who_had_a_piece_of_work_may_be_removed_while_it_is_claimed(database: Database) -> None:
    """As another transaction does on PostgreSQL between the two statements of a claim."""
    insert(database, "/w/a")
    insert(database, "/w/b")
    engine = database._engine  # pyright: ignore[reportPrivateUsage]
    with database.write() as connection:
        assert shared_work.claim(connection, "work", "/w/a", lambda _: True) is None
    removed = list[str]()

    def remove(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO shared_work") and not removed:
            removed.append("/w/a")
            connection.execute(delete(shared_work_table))

    event.listen(engine, "after_cursor_execute", remove)
    with database.write() as connection:
        assert shared_work.claim(connection, "work", "/w/b", lambda _: True) is None
        assert connection.execute(select(shared_work_table.c.job)).scalars().all() == ["/w/b"]
    assert removed
