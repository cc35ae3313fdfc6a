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


def test_experiments_that_always_come_again_do_not_keep_others_waiting(database: Database) -> None:
    running = want("running", 0.0, most=1, share="z")
    assert ask(database, running) == [0]
    jobs = {f"a{number}": want(f"a{number}", 1.0 + number, most=1, share="a") for number in range(3)}
    jobs |= {f"{share}0": want(f"{share}0", 5.0, most=1, share=share) for share in "bc"}
    for one in jobs.values():
        assert ask(database, one) is None
    served: list[str] = []
    for round_ in range(12):
        end(database, running)
        name = waiting(database)[0]
        served.append(name)
        running = jobs[name]
        assert ask(database, running) == [0]
        if not name.startswith("a"):
            again = f"{name[0]}{round_ + 1}"
            jobs[again] = want(again, 10.0 + round_, most=1, share=name[0])
            assert ask(database, jobs[again]) is None
    assert served[:9] == ["a0", "b0", "c0", "a1", *served[4:6], "a2", *served[7:9]]
    assert {name[0] for name in served[4:6]} == {name[0] for name in served[7:9]} == {"b", "c"}


def test_a_job_that_leaves_unserved_gives_its_turn_back(database: Database) -> None:
    ask(database, want("busy", 0.0, most=1))
    many = [want(f"many-{number}", 1.0 + number, most=1, share="many") for number in range(5)]
    for one in (*many, want("other", 10.0, most=1, share="few"), want("more", 11.0, most=1, share="few")):
        ask(database, one)
    end(database, *many)
    ask(database, want("again", 12.0, most=1, share="many"))
    assert waiting(database) == ["other", "again", "more"]


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


def lacking(database: Database) -> dict[str, bool]:
    with database.read() as connection:
        computes = queue.computes(connection, "/w/computes/")
        places = [one for compute in computes for one in queue.first(connection, compute, 100)]
    return {one.owner.rpartition("/")[2]: one.lacks_quota for one in places}


def due(database: Database, *wants: Want) -> list[str]:
    return [one.owner.rpartition("/")[2] for one in wants if read(database, one.owner).due_at is not None]


def test_who_waits_for_a_quota_is_woken_by_its_own_family_and_wakes_the_next(database: Database) -> None:
    with database.write() as connection:
        for family in ("familyX", "familyY"):
            quotas.set_(connection, "/w", family, 4, 1.0)
    x = [want(f"x{number:02}", 1.0 + number, most=99, family="familyX", cores=4) for number in range(25)]
    y = [want(f"y{number}", 50.0 + number, most=99, family="familyY", cores=4) for number in range(2)]
    for one in (*x, *y):
        insert(database, one.owner)
        ask(database, one)
    end(database, y[0])
    assert due(database, *x, *y) == ["y1"]
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyX", None, 1.0)
    asked = 0
    while woken := [one for one in x if lacking(database).get(one.owner.rpartition("/")[2]) and due(database, one)]:
        assert ask(database, woken[0]) is not None
        asked += 1
    assert asked == 24


def test_small_jobs_do_not_pass_a_large_one_of_their_quota(database: Database) -> None:
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyA", 8, 1.0)
    small = [want(f"s{number}", 1.0 + 2 * number, most=9, family="familyA", cores=4) for number in range(3)]
    gang = want("gang", 2.0, nodes=2, most=9, family="familyA", cores=4)
    for one in (*small, gang):
        insert(database, one.owner)
    assert [ask(database, one) for one in (small[0], gang, small[1])] == [[0], None, None]
    end(database, small[0])
    assert ask(database, small[2]) is None and ask(database, gang) is not None


def test_a_lower_priority_lets_others_pass_at_once(database: Database) -> None:
    small, wide = want("small", 3.0, most=2), want("wide", 2.0, nodes=2, most=2, priority=3)
    for one in (small, wide):
        insert(database, one.owner)
    assert ask(database, want("busy", 1.0, most=2)) == [0]
    assert ask(database, wide) is None and ask(database, small) is None
    assert ask(database, replace(wide, priority=1)) is None
    assert due(database, small) == ["small"] and ask(database, small) == [1]


def test_processors_that_are_given_back_while_another_notes_their_lack_wake_it(database: Database) -> None:
    with database.write() as connection:
        quotas.set_(connection, "/w", "familyA", 4, 1.0)
    first = want("a", 1.0, family="familyA", cores=4)
    other = replace(want("b", 2.0, family="familyA", cores=4), compute="/w/computes/other")
    insert(database, other.owner)
    assert ask(database, first) == [0]
    thread = threading.Thread(target=end, args=(database, first))
    with database.write() as connection:
        assert placement.acquire(connection, other, 0, 100.0) is None
        thread.start()
        thread.join(0.5)  # it waits for this transaction to end
    thread.join()
    assert due(database, other) == ["b"] and ask(database, other) == [0]
