"""The routes of the inference server without a socket: what is held of a request, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from smalt.agent.inject.app import App
from smalt.agent.inject.config import QUEUE, AzureSettings, ServeConfig
from smalt.agent.inject.http1 import Request, Response
from smalt.agent.inject.outcome import Outcome
from smalt.agent.inject.workers import Job
from smalt.gateway import clusters


class LaterPool:
    """Holds what it is given until the test answers it."""

    has_threads = False

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def put(self, job: Job) -> None:
        self.jobs.append(job)


class Client:
    def __init__(self) -> None:
        self.on_lost: Any = None
        self.answers: list[int] = []

    def send(self, response: Response) -> None:
        self.answers.append(response.status)
        self.on_lost = None

    def more(self, piece: bytes, taken: Callable[[], None]) -> None:
        taken()

    def end(self, whole: bool) -> bool:
        return False


def ask(app: App, body: bytes = b"{}") -> Client:
    request, client = Request("POST", "/score", {}, True), Client()
    request.body = body
    app.handle(request, client)  # type: ignore[arg-type]
    return client


def serving(pool: LaterPool, timeout_s: float) -> App:
    config = ServeConfig(entry_script="x", request_timeout_s=timeout_s)
    app = App(config, AzureSettings(), asyncio.get_running_loop())
    app.serve(pool, None)  # type: ignore[arg-type]
    return app


def test_an_answered_request_is_not_held_until_its_timeout_also_behind_a_slow_one() -> None:
    async def run() -> None:
        pool, mark = LaterPool(), b"x" * 1000
        app = serving(pool, 180)
        slow = ask(app)
        first = pool.jobs.pop()
        clients = [ask(app, mark) for _ in range(20)]
        while pool.jobs:
            app._finish([pool.jobs.pop()], [Outcome(200, b"", [])])
        assert all(client.answers == [200] for client in clients)
        assert len(app._deadlines) == 1 and slow.answers == [] and not first.answered
        app._finish([first], [Outcome(200, b"", [])])
        assert slow.answers == [200] and not app._deadlines

    asyncio.run(run())


def test_a_request_that_is_not_answered_gets_a_408_in_its_time_after_others_were() -> None:
    async def run() -> None:
        pool = LaterPool()
        app = serving(pool, 0.05)
        quick, late = ask(app), ask(app)
        app._finish([pool.jobs[0]], [Outcome(200, b"", [])])
        for _ in range(100):
            if late.answers:
                break
            await asyncio.sleep(0.01)
        assert quick.answers == [200] and late.answers == [408] and not app._deadlines
        app._finish([pool.jobs[1]], [Outcome(200, b"", [])])
        assert late.answers == [408]

    asyncio.run(run())


def test_more_than_can_wait_is_refused_until_one_is_answered() -> None:
    async def run() -> None:
        pool = LaterPool()
        app = serving(pool, 180)
        held = [ask(app) for _ in range(2 * (1 + QUEUE))]
        assert ask(app).answers == [429] and len(pool.jobs) == len(held)
        app._finish([pool.jobs.pop()], [Outcome(200, b"", [])])
        assert ask(app).answers == [] and ask(app).answers == [429]

    asyncio.run(run())


def test_both_sides_know_how_many_may_wait() -> None:
    assert QUEUE == clusters.QUEUE
