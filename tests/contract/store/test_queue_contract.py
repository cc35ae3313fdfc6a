"""The order of the queue: shares take turns, small jobs use what is free before a large one starts, quotas hold."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from fakes.rows import insert, read
from smalt.sched import placement, queue, quotas
from smalt.sched.want import Want
from smalt.store.database import Collision, Database

CPU = "/w/computes/cpu"


def want(name: str, at: float, nodes: int = 1, most: int = 4, **more: object) -> Want:
    return replace(Want(CPU, f"/w/jobs/{name}", nodes, most, at), **more)  # pyright: ignore[reportArgumentType]


def ask(database: Database, one: Want, now: float = 100.0) -> list[int] | None:
    while True:
        try:
            with database.write() as connection:
                given = placement.acquire(connection, one, 0, now)
                return None if given is None else [node.node for node in given]
        except Collision:
            continue


def end(database: Database, *owners: Want, now: float = 200.0) -> None:
    for one in owners:
        with database.write() as connection:
            placement.release(connection, one.owner, now)


def waiting(database: Database) -> list[str]:
    with database.read() as connection:
        return [one.owner.rpartition("/")[2] for one in queue.first(connection, CPU, 100)]


def test_an_experiment_with_many_jobs_holds_up_another_for_one_turn(database: Database) -> None:
    busy = want("busy", 0.0, most=1)
    assert ask(database, busy) == [0]
    many = [want(f"many-{number}", 1.0 + number, most=1, share="many") for number in range(5)]
    few = [want(f"few-{number}", 10.0 + number, most=1, share="few") for number in range(2)]
    for one in [*many, *few]:
        assert ask(database, one) is None
    assert waiting(database) == ["many-0", "few-0", "many-1", "few-1", "many-2", "many-3", "many-4"]
    end(database, busy)
    assert ask(database, few[0]) is None and ask(database, many[0]) == [0]
    end(database, many[0])
    assert ask(database, many[1]) is None and ask(database, few[0]) == [0]


def test_who_comes_late_with_an_older_time_stands_before_its_own(database: Database) -> None:
    ask(database, want("busy", 0.0, most=1))
    for name, at in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        ask(database, want(name, at, most=1, share="one"))
    assert waiting(database) == ["a", "b", "c"]


def test_another_rank_is_another_place(database: Database) -> None:
    ask(database, want("busy", 0.0, most=1))
    for name, at in (("b", 2.0), ("c", 3.0)):
        ask(database, want(name, at, most=1))
    ask(database, want("c", 3.0, most=1, priority=3))
    assert waiting(database) == ["c", "b"]
    with database.read() as connection:
        assert [queue.position(connection, f"/w/jobs/{name}", 10) for name in "cb"] == [1, 2]


def test_short_jobs_use_what_a_large_one_waits_beside_and_do_not_delay_it(database: Database) -> None:
    short, long, gang = want("short", 3.0, limit_s=60.0), want("long", 4.0, limit_s=1000.0), want("gang", 2.0, nodes=4)
    holder = want("holder", 1.0, limit_s=500.0)
    for one in (short, long, gang):
        insert(database, one.owner)
    assert ask(database, holder) == [0]
    assert ask(database, gang) is None
    assert ask(database, long) is None, "it would end after the gang can start"
    assert ask(database, short) == [1]
    end(database, short, holder)
    assert ask(database, long) is None, "the gang is next"
    assert ask(database, gang) == [0, 1, 2, 3]


def test_who_gives_way_uses_it_too_and_is_called_back_when_that_is_enough(database: Database) -> None:
    holders = [want(f"holder-{one}", 1.0) for one in range(2)]
    spots = [want(f"spot-{one}", 3.0 + one, preemptible=True) for one in range(3)]
    gang = want("gang", 2.0, nodes=3)
    for one in (*holders, *spots, gang):
        insert(database, one.owner)
    assert [ask(database, one) for one in holders] == [[0], [1]]
    assert ask(database, gang) is None
    assert [ask(database, one) for one in spots] == [[2], [3], None]
    end(database, holders[0])
    assert ask(database, spots[2]) is None, "what is free and what comes back are enough for the gang"
    assert ask(database, gang) is None
    with database.read() as connection:
        back = [one for one in spots if placement.reclaimed(connection, one.owner)]
    assert len(back) == 2
    end(database, *back)
    assert ask(database, gang) == [0, 2, 3]


def test_those_who_can_start_beside_it_are_woken_with_it(database: Database) -> None:
    short, gang, holder = (
        want("short", 3.0, limit_s=60.0),
        want("gang", 2.0, nodes=4),
        want("holder", 1.0, limit_s=500.0),
    )
    other = want("other", 1.5, nodes=3)
    for one in (short, gang, holder, other):
        insert(database, one.owner)
    assert (ask(database, holder), ask(database, other)) == ([0], [1, 2, 3])
    assert ask(database, gang) is None and ask(database, short) is None
    end(database, other)
    assert ask(database, gang) is None
    assert read(database, short.owner).due_at is not None


def test_a_quota_holds_for_all_computes_of_a_workspace_and_holds_up_no_others(database: Database) -> None:
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyA", 8, 1.0)
    first, second = (want(name, at, family="familyA", cores=4) for name, at in (("a", 1.0), ("b", 2.0)))
    third = replace(want("c", 3.0, family="familyA", cores=4), compute="/w/computes/other")
    free = want("d", 4.0, family="familyB", cores=64)
    elsewhere = replace(third, compute="/v/computes/cpu", owner="/v/jobs/e")
    insert(database, third.owner)
    assert [ask(database, one) for one in (first, second, third, free, elsewhere)] == [[0], [1], None, [2], [0]]
    with database.read() as connection:
        assert quotas.used(connection, "/w") == {"familyA": 8, "familyB": 64}
        assert [one.lacks_quota for one in queue.first(connection, third.compute, 5)] == [True]
    end(database, first)
    assert read(database, third.owner).due_at is not None, "it is woken"
    assert ask(database, third) == [0]
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyA", None, 1.0)
    assert ask(database, want("f", 5.0, family="familyA", cores=400)) is not None


@pytest.mark.parametrize("round_", range(5))
def test_a_quota_is_never_exceeded_by_jobs_of_several_computes_at_once(database: Database, round_: int) -> None:
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyA", 12, 1.0)
    wants = [
        replace(want(f"{round_}-{number}", 1.0, family="familyA", cores=4), compute=f"/w/computes/c{number}")
        for number in range(8)
    ]
    got: list[str] = []

    def take(one: Want) -> None:
        if ask(database, one) is not None:
            got.append(one.owner)

    threads = [threading.Thread(target=take, args=(one,)) for one in wants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 3
