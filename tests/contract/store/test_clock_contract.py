"""Which clock the rows are of, and one that is set: on each database, and by one of several servers."""

from __future__ import annotations

import threading
import time

import pytest

from smalt.store.clock import SharedClock, first_to_notice
from smalt.store.database import Database

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
def test_servers_agree_whatever_their_machines_say(database: Database) -> None:
    apart: list[float] = []
    for _ in range(5):  # time goes on between two looks
        first, second = SharedClock(database), SharedClock(database, lambda: time.monotonic() - 12_345)
        apart.append(abs(first() - second()))
        assert abs(first() - time.time()) < 5, "the database is on this machine"
    assert min(apart) < 0.2


@on_postgresql
def test_it_goes_on_without_asking(database: Database) -> None:
    now = 1000.0
    clock = SharedClock(database, lambda: now)
    before = clock()
    now += 60
    assert clock() == before + 60
    clock.settle()  # what it counts by had jumped: the database knows better
    assert abs(clock() - before) < 10


def test_one_of_several_servers_moves_the_timers(database: Database) -> None:
    """They measure the same jump, not to the last digit, and not at the same time."""
    firsts: list[int] = []
    start = threading.Barrier(4)

    def server(number: int) -> None:
        start.wait()
        with database.write() as connection:
            if first_to_notice(connection, 3600 + number / 10, 10_000 + 5.0 * number):
                firsts.append(number)

    threads = [threading.Thread(target=server, args=(one,)) for one in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(firsts) == 1


@pytest.mark.parametrize(("jump", "now"), [(-3600.0, 10_001.0), (3600.0, 13_601.0)])
def test_another_jump_is_another(database: Database, jump: float, now: float) -> None:
    """Back again at once; and the same once more."""
    with database.write() as connection:
        assert first_to_notice(connection, 3600, 10_000)
        assert not first_to_notice(connection, 3600, 10_000)
        assert first_to_notice(connection, jump, now)
