"""Which waiting requests a worker takes together, and for which it waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from smalt.agent.inject import workers
from smalt.agent.inject.http1 import Request
from smalt.agent.inject.outcome import Outcome
from smalt.agent.inject.workers import Job, Pool

CALL_S = 10.0


class Rows:
    max_requests, once = 8, False

    def score(self, requests: list[Request]) -> list[Outcome]:
        return []


def a_pool(monkeypatch: pytest.MonkeyPatch, *arriving: int) -> Pool:
    """So many requests come in each pause; then none."""
    pool = Pool(Rows(), 60, 1, lambda jobs, outcomes: None, lambda job, outcome: None)
    comes = iter(arriving)
    in_each_pause(monkeypatch, lambda: put(pool, next(comes, 0)))
    return pool


def in_each_pause(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    clock = SimpleNamespace(perf_counter=time.perf_counter, sleep=lambda seconds: happens())
    monkeypatch.setattr(workers, "time", clock)


def put(pool: Pool, count: int) -> None:
    for _ in range(count):
        pool.put(Job(Request("POST", "/score", {}, True), float("inf")))


def taken(pool: Pool) -> int:
    batch = pool.take()
    assert batch is not None
    pool.took(CALL_S)
    return len(batch)


def test_who_asks_alone_is_waited_for_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = a_pool(monkeypatch, 1, 1, 1)
    for _ in range(3):
        put(pool, 1)
        assert taken(pool) == 1


def test_those_that_came_together_are_waited_for_while_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = a_pool(monkeypatch, 2, 2, 1, 0)
    put(pool, 6)
    assert taken(pool) == 6
    put(pool, 1)
    assert taken(pool) == 6  # the last of them in the third pause
    put(pool, 1)
    assert taken(pool) == 1  # none came in the fourth


def test_nobody_waits_longer_than_a_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = a_pool(monkeypatch, 1)
    put(pool, 3)
    assert taken(pool) == 3
    pool.took(workers.PAUSE_S / 2)
    put(pool, 1)
    assert taken(pool) == 1


def test_the_end_is_not_lost_in_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = a_pool(monkeypatch)
    put(pool, 3)
    assert taken(pool) == 3
    in_each_pause(monkeypatch, pool.stop)
    put(pool, 1)
    assert taken(pool) == 1 and pool.take() is None
