"""The feed: each change once and in order, whoever writes meanwhile and however often the reader comes back."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import inspect, text

from fakes.databases import quick
from live.patience import PATIENCE_S
from smalt.store import author, changes, feed, resources
from smalt.store.changes import What
from smalt.store.database import Database
from smalt.store.feed import Cursor, NotACursor
from smalt.store.listener import Listener
from smalt.store.migrate import migrate
from smalt.store.news import EVERYTHING, Hint

WRITERS, EACH = 8, 1250
GROUP = "/subscriptions/s/resourcegroups/g"
HOME = f"{GROUP}/providers/microsoft.machinelearningservices/workspaces/w"


def record(connection: Any, key: str, number: int, what: What = What.STATE, kind: str = "workspaces/jobs") -> None:
    changes.record(connection, key, "a", "b", "", 1.0, what=what, kind=kind, generation=number)


def read_all(database: Database, cursor: Cursor, most: int = 200, below: str = "", **more: Any) -> list[feed.Change]:
    """As a reader does that comes back with its cursor for each page."""
    found: list[feed.Change] = []
    while True:
        with database.read() as connection:
            page = feed.after(connection, Cursor.parse(str(cursor)), below, most=most, **more)
        found += page.changes
        cursor = page.cursor
        if not page.more:
            return found


def test_a_reader_that_comes_back_sees_each_change_once_and_in_order(database: Database) -> None:
    """8 writers, 10,000 changes; each transaction writes of its own resource and of one that all share.

    On PostgreSQL with two servers: half of the writers are at each, and the reader is at one and the other in turn.
    """
    if database.sqlite:
        quick(database)
    servers = [database, database if database.sqlite else Database(database.url)]
    done = threading.Event()
    with database.write() as connection:
        connection.execute(text("CREATE TABLE shared (number INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO shared (number) VALUES (0)"))

    def write(writer: int) -> None:
        for begin in range(0, EACH, 5):
            with servers[writer % 2].write() as connection:
                for number in range(begin, begin + 4):
                    record(connection, f"{HOME}/jobs/{writer}", number)
                # as a row of `resource` does, this one makes all others wait for the commit
                bumped = connection.execute(text("UPDATE shared SET number = number + 1 RETURNING number"))
                record(connection, f"{HOME}/jobs/shared", bumped.scalar_one())

    def read() -> list[feed.Change]:
        found: list[feed.Change] = []
        cursor = Cursor()
        for server in cycle(servers):
            last = done.is_set()
            with server.read() as connection:
                page = feed.after(connection, Cursor.parse(str(cursor)), HOME, most=37)
            cut = len(page.changes) // 2  # half of a page got through before the connection broke off
            found += page.changes[:cut] or page.changes
            cursor = page.changes[cut - 1].cursor if cut else page.cursor
            if last and not page.changes and not page.more:
                return found
        raise AssertionError("unreachable")

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(read)
        for future in [pool.submit(write, writer) for writer in range(WRITERS)]:
            future.result()
        done.set()
        found = reader.result()
    servers[1].close()
    by_resource: dict[str, list[int | None]] = defaultdict(list)
    for one in found:
        by_resource[one.resource_id].append(one.generation)
    for writer in range(WRITERS):
        assert by_resource[f"{HOME}/jobs/{writer}"] == [one for one in range(EACH) if one % 5 != 4]
    assert by_resource[f"{HOME}/jobs/shared"] == list(range(1, WRITERS * EACH // 5 + 1))
    assert len({str(one.cursor) for one in found}) == len(found)
    assert [one.cursor.sequence for one in read_all(database, Cursor(), below=HOME, most=1000)] == sorted(
        one.cursor.sequence for one in found
    )


def test_one_that_commits_later_is_not_missed(database: Database) -> None:
    """On PostgreSQL: a transaction takes its number first, and commits after another that took a later one."""
    if database.sqlite:
        pytest.skip("SQLite has one writer")
    with ExitStack() as slow:
        first = slow.enter_context(database.write())
        record(first, "/slow", 1)
        with database.write() as connection:
            record(connection, "/fast", 2)
        with database.read() as connection:
            seen = feed.after(connection, Cursor())
        assert [one.resource_id for one in seen.changes] == ["/fast"], "nobody waits for a slow transaction"
    assert [one.resource_id for one in read_all(database, seen.cursor)] == ["/slow"]


def test_what_is_rolled_back_is_not_there_and_nobody_is_told(database: Database) -> None:
    told: list[Hint] = []
    database.follow(told.append)
    with pytest.raises(RuntimeError), database.write() as connection:
        record(connection, "/a", 1)
        raise RuntimeError
    with database.write() as connection:
        record(connection, "/b", 1)
        assert not told, "before the commit there is nothing to see"
    assert [one.resource_id for one in read_all(database, Cursor())] == ["/b"] and told == [Hint("/b", False)]


def test_scopes_kinds_and_sorts(database: Database) -> None:
    keys = (GROUP, f"{GROUP}-2", HOME, f"{HOME}/jobs/a", f"{HOME}/jobs/a/x/y", f"{HOME}/jobs/a-b", f"{HOME}2/jobs/a")
    with database.write() as connection:
        for number, key in enumerate(keys):
            record(connection, key, number, kind="workspaces/jobs" if "/jobs/" in key else "other")
        record(connection, HOME, 99, What.SECRET_READ, "other")
        record(connection, "gateways/main", 100, kind="gateways")

    def found(below: str, **more: Any) -> list[int | None]:
        return [one.generation for one in read_all(database, Cursor(), 2, below, **more)]

    assert found("") == [0, 1, 2, 3, 4, 5, 6, 99, 100]
    assert found("/subscriptions/s") == [0, 1, 2, 3, 4, 5, 6, 99]
    assert found(GROUP) == [0, 2, 3, 4, 5, 6, 99]
    assert found(HOME) == [2, 3, 4, 5, 99]
    assert found(f"{HOME}/jobs/a") == [3, 4]
    assert found(GROUP, kinds=["other"]) == [0, 2, 99] and found(HOME, whats=["secret_read"]) == [99]


def test_every_write_of_a_row_is_recorded(database: Database) -> None:
    key, spec = f"{HOME}/jobs/a", {"properties": {}}
    with author.on_behalf("request-1"):
        author.identified("ada", answerable=True)
        with database.write() as connection:
            resources.insert(
                connection,
                key=key,
                written=key,
                kind="workspaces/jobs",
                parent=HOME,
                name="a",
                spec=spec,
                status={},
                state="Succeeded",
                now=1.0,
                by="ada",
            )
        row = _row(database, key)
        with database.write() as connection:
            resources.replace_spec(connection, row, spec, state="Succeeded", now=2.0, by="ada", due=False)
            resources.describe(connection, row, spec, archived=True, now=3.0, by="ada")
    with database.write() as connection:
        resources.mark_deleting(connection, _row(database, key), 4.0, "ada")
        resources.remove(connection, key, 5.0)
    found = [(one.what, one.generation, one.actor, one.request_id) for one in read_all(database, Cursor())]
    assert found == [
        ("created", 1, "ada", "request-1"),
        ("updated", 2, "ada", "request-1"),
        ("described", 1, "ada", "request-1"),
        ("deleting", 2, "smalt", ""),
        ("deleted", 2, "smalt", ""),
    ]
    with database.read() as connection:
        states = [one.after for one in changes.newest(connection, key)]
    assert states == ["Succeeded", "Deleting", "Deleted"], "events are changes of state"


def test_many_that_are_made_at_once(database: Database) -> None:
    told: list[Hint] = []
    database.follow(told.append)
    rows = [
        resources.New(
            key=f"{HOME}/jobs/{number}",
            written="",
            kind="workspaces/jobs",
            parent=HOME,
            name=str(number),
            spec={},
            status={},
            state="New",
            by="ada",
            due_at=1.0 if number else None,
        )
        for number in range(3)
    ]
    with database.write() as connection:
        resources.insert_all(connection, rows, 1.0)
    assert [(one.resource_id, one.what) for one in read_all(database, Cursor())] == [
        (row.key, "created") for row in rows
    ]
    assert [hint.due for hint in told] == [False, True, True]


def _row(database: Database, key: str) -> resources.Row:
    with database.read() as connection:
        row = resources.get(connection, key)
    assert row is not None
    return row


def test_cursors_of_elsewhere_are_refused(database: Database) -> None:
    with database.write() as connection:
        record(connection, "/a", 1)
    other = Cursor(sequence=1) if not database.sqlite else Cursor(since="5:5:")
    ahead = Cursor(sequence=10) if database.sqlite else Cursor(since=f"{2**60}:{2**60}:")
    for cursor in (ahead, *([other] if database.sqlite else [])):
        with pytest.raises(NotACursor), database.read() as connection:
            feed.after(connection, cursor)
    for written in ("x", "é", "MX5-fj", str(Cursor(since="9:5:")), str(Cursor(since="1:5:7")), "A" * 40_000, "MX5-\n"):
        with pytest.raises(NotACursor):
            Cursor.parse(written)


def test_numbers_are_not_given_again_when_all_is_forgotten(database: Database) -> None:
    with database.write() as connection:
        record(connection, "/a", 1)
    with database.read() as connection:
        cursor = feed.after(connection, Cursor()).cursor
    with database.write() as connection:
        assert changes.forget(connection, 1.0 + changes.KEPT_S) == 0
        assert changes.forget(connection, 2.0 + changes.KEPT_S) == 1
        record(connection, "/b", 1)
    assert [one.resource_id for one in read_all(database, cursor)] == ["/b"]


def test_what_a_dump_brought_along_is_there_for_all(database: Database) -> None:
    with database.write() as connection:
        record(connection, "/a", 1)
        connection.execute(text("UPDATE change SET xid = 4611686018427387904 WHERE xid IS NOT NULL"))
    with database.write() as connection:
        feed.restored(connection)
    assert [one.resource_id for one in read_all(database, Cursor())] == ["/a"]


def test_events_of_an_older_database_become_changes(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TABLE change"))
        connection.execute(
            text(
                "CREATE TABLE event (seq INTEGER PRIMARY KEY, resource_id TEXT, at DOUBLE PRECISION, before TEXT,"
                " after TEXT, reason TEXT)"
            )
        )
        for number, (before, after, reason) in enumerate(
            [(None, "New", "created"), ("New", "Done", ""), ("Done", "Deleting", "delete requested")] * 400
        ):
            values = {"n": number, "k": f"{HOME}/jobs/a", "b": before, "a": after, "r": reason}
            connection.execute(text("INSERT INTO event VALUES (:n, :k, 7.0, :b, :a, :r)"), values)
        connection.execute(text("UPDATE alembic_version SET version_num = '0010'"))
    migrate(database)
    found = read_all(database, Cursor(), below=HOME)
    assert [one.what for one in found] == ["created", "state", "deleting"] * 400
    with database.read() as connection:
        assert changes.newest(connection, f"{HOME}/jobs/a")[-1].after == "Deleting"
        assert not inspect(connection).has_table("event")


@pytest.fixture
def other(database: Database) -> Iterator[tuple[Database, Queue[Hint]]]:
    """A second server's database object, and what its listener hears."""
    second, heard = Database(database.url), Queue[Hint]()
    listener = Listener(second, heard.put)
    listener.start()
    if not database.sqlite:
        assert heard.get(timeout=PATIENCE_S) == Hint(EVERYTHING, True), "what came before it listened"
    yield second, heard
    listener.stop()
    second.close()


def test_another_server_hears_of_a_change(database: Database, other: tuple[Database, Queue[Hint]]) -> None:
    if database.sqlite:
        pytest.skip("one server")
    second, heard = other
    with second.write() as connection:
        record(connection, "/mine", 1)
    with pytest.raises(RuntimeError), database.write() as connection:
        record(connection, "/undone", 1)
        raise RuntimeError
    with database.write() as connection:
        record(connection, "/theirs", 1)
        changes.record(connection, "/due", None, None, "", 1.0, what=What.UPDATED, kind="", due=True)
        record(connection, "/long" * 3000, 1)
    found = [heard.get(timeout=PATIENCE_S) for _ in range(3)]
    assert found == [Hint("/theirs", False), Hint("/due", True), Hint(EVERYTHING, False)]


def test_a_listener_comes_back_when_postgresql_does(database: Database, other: tuple[Database, Queue[Hint]]) -> None:
    if database.sqlite:
        pytest.skip("one server")
    _, heard = other
    with database.write() as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = "
        connection.execute(text(query + "current_database()"))
    assert heard.get(timeout=PATIENCE_S) == Hint(EVERYTHING, True), "some may have been missed"
    with database.write() as connection:
        record(connection, "/after", 1)
    assert heard.get(timeout=PATIENCE_S) == Hint("/after", False)


def test_a_listener_ends_while_postgresql_is_away(tmp_path: Path) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/none")
    listener = Listener(away, lambda hint: None)
    listener.start()
    listener.stop()
    away.close()


def test_the_server_need_not_be_the_same(database: Database) -> None:
    """A cursor outlives the process: it is of the database."""
    with database.write() as connection:
        record(connection, "/a", 1)
    with database.read() as connection:
        cursor = str(feed.after(connection, Cursor()).cursor)
    again = Database(database.url)
    with again.write() as connection:
        record(connection, "/b", 1)
    assert [one.resource_id for one in read_all(again, Cursor.parse(cursor))] == ["/b"]
    again.close()


def test_people_read_from_the_newest_back(database: Database) -> None:
    keys = [f"{HOME}/jobs/{number}" for number in range(5)]
    with database.write() as connection:
        for number, key in enumerate([*keys, f"{GROUP}/elsewhere"]):
            record(connection, key, number)
    found, before = list[str](), 0
    while True:
        with database.read() as connection:
            page = feed.latest(connection, before, HOME, ["workspaces/jobs"], [What.STATE], 2)
        found += [one.resource_id for one in page]
        if len(page) < 2:
            break
        before = page[-1].cursor.sequence
    assert found == keys[::-1]
    with database.read() as connection:
        assert [one.generation for one in feed.latest(connection, 0, keys[3], (), (), 9)] == [3]
        assert feed.latest(connection, 0, HOME, ["workspaces/data"], (), 9) == []
