"""Two servers on one PostgreSQL: what one does, who waits at the other learns at once, and so does the other's loop."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from fakes.platform import OWNER, WORKSPACE, Harness
from live.patience import PATIENCE_S
from live.postgres import Postgres
from smalt.arm import router
from smalt.arm.hub import Hub
from smalt.arm.router import ArmApp
from smalt.reconcile.loop import Loop
from smalt.reconcile.pace import Pace
from smalt.store.database import Database
from smalt.store.listener import Listener

ROUNDS = 7
AT_ONCE_S = 0.2


class Second:
    """Another server: a database object, a hub and a listener of its own."""

    def __init__(self, first: Harness) -> None:
        self.database, self.hub = Database(first.settings.database), Hub()
        self.database.follow(self.hub.told)
        self.listener = Listener(self.database, self.hub.told)
        self.listener.start()
        assert self.listener.listening.wait(PATIENCE_S)
        self.platform = replace(first.platform, database=self.database, hub=self.hub)
        self.app = ArmApp(self.platform, first.crud, lambda scope: OWNER, lambda *_: None)
        self.held = threading.Event()  # somebody waits
        add = self.hub.add
        self.hub.add = lambda one: (add(one), self.held.set())  # type: ignore[method-assign,assignment]

    def get(self, url: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://localhost:7443") as client:
                return await client.get(url)

        return asyncio.run(ask())

    def close(self) -> None:
        self.listener.stop()
        self.database.close()


@pytest.fixture
def first(tmp_path: Path, postgres: Postgres, migrated: str) -> Iterator[Harness]:
    url = postgres.create(migrated)
    made = Harness(tmp_path, database_url=url)
    yield made
    made.close()
    postgres.drop(url)


@pytest.fixture
def second(first: Harness) -> Iterator[Second]:
    made = Second(first)
    yield made
    made.close()


def test_a_long_poll_ends_at_once_where_another_server_ends_it(
    first: Harness, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "REREAD_S", 60.0)  # nobody looks by himself
    waited: list[float] = []
    for number in range(ROUNDS):
        asked = first.put(f"{WORKSPACE}-{number}", {"location": "local", "properties": {}})
        answers: list[Any] = []

        def hold(url: str, answers: list[Any]) -> None:
            answers.append((second.get(url).json()["status"], time.monotonic()))

        second.held.clear()
        poll = threading.Thread(daemon=True, target=hold, args=(asked.headers["azure-asyncoperation"], answers))
        poll.start()
        assert second.held.wait(PATIENCE_S)
        for row in first.loop.claim({"serving": 9, "control": 9, "cleanup": 9}):  # all but its end
            first.loop.step(row)
        while not answers and first.loop.run_due():
            pass
        ended = time.monotonic()
        poll.join()
        assert answers[0][0] == "Succeeded"
        waited.append(answers[0][1] - ended)
    assert statistics.median(waited) < AT_ONCE_S, waited


def test_the_loop_of_another_server_is_woken(first: Harness, second: Second) -> None:
    """The first server's loop does not run at all; the second's looks by itself every ten minutes only."""
    loop = Loop(second.platform, first.kinds, first.crud.remove_stored, Pace(resync_s=600.0))
    ended = threading.Event()
    second.hub.follow(lambda key: ended.set() if key == f"{WORKSPACE}-x".lower() and _ended(first) else None)
    running = threading.Thread(target=loop.run)
    running.start()
    first.put(f"{WORKSPACE}-x", {"location": "local", "properties": {}})
    assert ended.wait(PATIENCE_S)
    loop.stop()
    running.join()


def _ended(first: Harness) -> bool:
    return first.row(f"{WORKSPACE}-x").ended_at is not None


def test_a_server_that_lost_postgresql_learns_what_it_missed(
    first: Harness, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listening connection is cut while a poll is held, and the operation ends before it is there again."""
    monkeypatch.setattr(router, "REREAD_S", 60.0)
    asked = first.put(f"{WORKSPACE}-y", {"location": "local", "properties": {}})
    poll = threading.Thread(
        daemon=True, target=lambda: answers.append(second.get(asked.headers["azure-asyncoperation"]).json())
    )
    answers: list[Any] = []
    poll.start()
    assert second.held.wait(PATIENCE_S)
    second.listener._told = lambda hint: second.hub.told(hint) if not hint.key else None  # what is named gets lost
    first.settle()
    with first.database.write() as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        connection.execute(text(f"{cut} AND datname = current_database()"))
    poll.join(PATIENCE_S)
    assert answers and answers[0]["status"] == "Succeeded"
