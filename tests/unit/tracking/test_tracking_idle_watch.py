"""When MLflow's process may end: nothing asked for long, and nothing under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smalt.tracking.process import idle_watch
from smalt.tracking.process.idle_watch import IdleWatch


class Hall:
    """An app whose requests take until `gate`, and a clock that moves as far as somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, idle_s: float) -> None:
        self.now, self.answered_at, self.slept, self.gate = 0.0, 0.0, 0, asyncio.Event()
        self.watch = IdleWatch(self._answer, idle_s, lambda: self.now)
        sleep = asyncio.sleep

        async def moved(seconds: float) -> None:
            self.now, self.slept = self.now + seconds, self.slept + 1
            await sleep(0)

        monkeypatch.setattr(idle_watch.asyncio, "sleep", moved)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await self.gate.wait()
        self.answered_at = self.now

    async def ask(self, path: str) -> None:
        async def nothing(*_: Any) -> Any: ...

        await self.watch({"type": "http", "path": path}, nothing, nothing)


def test_it_is_idle_so_long_after_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        hall = Hall(monkeypatch, 900)
        hall.now = 100
        await hall.ask("/api/2.0/mlflow/runs/search")
        for hall.now in (300, 600, 999):
            await hall.ask("/health")  # nobody but the supervisor
        await hall.watch.idle()
        assert hall.now == 1000

    asyncio.run(story())


def test_what_is_under_way_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        hall = Hall(monkeypatch, 10)
        slow = asyncio.create_task(hall.ask("/slow"))
        await asyncio.wait([slow], timeout=0)
        idle = asyncio.create_task(hall.watch.idle())
        while hall.slept < 50:
            await asyncio.wait([idle], timeout=0)
        assert not idle.done() and hall.watch.busy == 1
        hall.gate.set()
        await slow
        await idle
        assert hall.watch.busy == 0 and hall.now >= hall.answered_at + 10

    asyncio.run(story())


def test_with_0_it_never_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        hall = Hall(monkeypatch, 0)
        idle = asyncio.create_task(hall.watch.idle())
        await asyncio.wait([idle], timeout=0)
        hall.now = 1e9
        await asyncio.wait([idle], timeout=0.05)
        assert not idle.done()
        idle.cancel()

    asyncio.run(story())
