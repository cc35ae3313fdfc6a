"""Counted children, on SQLite and PostgreSQL: whoever ends them at once, the counts are right and the one above wakes."""

from __future__ import annotations

import threading

from fakes.rows import insert, read
from smalt.sched import placement
from smalt.sched.want import Want
from smalt.store import children, claims, resources
from smalt.store.children import OPEN
from smalt.store.database import Collision, Database

WRITERS, EACH = 8, 25


def end(database: Database, key: str, state: str, now: float) -> None:
    """One child's last step; what met another's transaction is tried again, as the loop does."""
    while True:
        try:
            with database.write() as connection:
                (row,) = claims.claim(connection, [key], now, key, 30.0)
            break
        except Collision:
            continue
    while True:
        try:
            with database.write() as connection:
                assert claims.apply(
                    connection, row, status={}, state=state, due_at=None, failures=0, now=now, reason="", ended=True
                )
            return
        except Collision:
            continue


def counts(database: Database, parent: str) -> dict[str, int]:
    with database.read() as connection:
        return children.counts(connection, parent)


def test_many_that_end_at_once_are_all_counted_and_wake_the_one_above(database: Database) -> None:
    insert(database, "/w/parent")
    for number in range(WRITERS * EACH):
        insert(database, f"/w/c{number}", due_at=1.0, parent="/w/parent", counted=True)
    assert counts(database, "/w/parent") == {OPEN: WRITERS * EACH, "New": WRITERS * EACH}

    def work(first: int) -> None:
        for number in range(first, WRITERS * EACH, WRITERS):
            end(database, f"/w/c{number}", "Failed" if number % 5 == 0 else "Completed", 10.0)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(database, "/w/parent") == {"Completed": 160, "Failed": 40}
    due = read(database, "/w/parent").due_at
    assert due == 10.0


def test_the_fewer_are_left_the_sooner_the_one_above_looks(database: Database) -> None:
    insert(database, "/w/parent")
    for number in range(300):
        insert(database, f"/w/c{number}", due_at=1.0, parent="/w/parent", counted=True)
    end(database, "/w/c0", "Completed", 10.0)
    assert read(database, "/w/parent").due_at == 10.0 + children.PACE_MOST_S
    for number in range(1, 299 - children.FEW):
        end(database, f"/w/c{number}", "Completed", 10.0)
    due = read(database, "/w/parent").due_at
    assert due is not None and abs(due - (10.0 + children.PACE_S)) < 1e-6
    end(database, "/w/c299", "Completed", 10.0)
    assert read(database, "/w/parent").due_at == 10.0


def test_one_that_wakes_during_the_step_above_is_seen_by_the_next(database: Database) -> None:
    insert(database, "/w/parent", due_at=1.0)
    insert(database, "/w/c", due_at=1.0, parent="/w/parent", counted=True)
    with database.write() as connection:
        (above,) = claims.claim(connection, ["/w/parent"], 5.0, "mine", 30.0)
    end(database, "/w/c", "Completed", 6.0)
    with database.write() as connection:
        claims.apply(
            connection, above, status={}, state="New", due_at=None, failures=0, now=7.0, reason="", ended=False
        )
    assert read(database, "/w/parent").due_at is not None


def test_what_is_removed_or_opened_again_is_counted_so(database: Database) -> None:
    insert(database, "/w/parent")
    for name in "abc":
        insert(database, f"/w/{name}", due_at=1.0, parent="/w/parent", counted=True)
    end(database, "/w/a", "Completed", 10.0)
    row = read(database, "/w/a")
    with database.write() as connection:
        resources.replace_spec(connection, row, row.spec, state="Completed", now=11.0, by="ada", due=True)
    assert counts(database, "/w/parent") == {OPEN: 3, "New": 2, "Completed": 1}
    with database.write() as connection:
        resources.mark_deleting(connection, read(database, "/w/b"), 12.0, "ada")
        resources.remove(connection, "/w/b", 13.0)
        resources.remove(connection, "/w/c", 13.0)
    assert counts(database, "/w/parent") == {OPEN: 1, "Completed": 1}
    with database.write() as connection:
        resources.remove(connection, "/w/parent", 14.0)
    assert counts(database, "/w/parent") == {}


def test_gpus_are_never_given_to_two(database: Database) -> None:
    """Jobs of eight computes that want two of a machine's four GPUs each, all at once; as two end, two others follow."""
    wants = [Want(f"/w/cpu{one}", f"/w/j{one}", 1, 1, float(one), gpus=2) for one in range(WRITERS)]
    for want in wants:
        insert(database, want.owner)
    got: dict[str, tuple[int, ...]] = {}

    def take(want: Want) -> None:
        while True:
            try:
                with database.write() as connection:
                    given = placement.acquire(connection, want, 4, 5.0)
                break
            except Collision:
                continue
        if given:
            got[want.owner] = given[0].gpus

    left = wants
    for _ in range(WRITERS // 2):
        threads = [threading.Thread(target=take, args=(want,)) for want in left]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for want in left:  # who met others asks again
            take(want)
        assert sorted(index for gpus in got.values() for index in gpus) == [0, 1, 2, 3]
        with database.write() as connection:
            for owner in got:
                placement.release(connection, owner, 6.0)
        left = [want for want in left if want.owner not in got]
        if left:
            woken = [want.owner for want in left if read(database, want.owner).due_at is not None]
            assert woken, "the next in the queue is looked at"
        got.clear()
    assert not left
