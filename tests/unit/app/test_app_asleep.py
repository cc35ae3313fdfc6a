"""A request to a deployment that sleeps: held until an instance is there, passed on, or refused with the reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import httpx
import pytest

from fakes.deployments import BLUE, KEY, come_up, deploy, live
from fakes.examples import prepare
from fakes.platform import Harness
from smalt.agent.wire import Address
from smalt.arm.scale import decide, decided
from smalt.gateway.listener import ASLEEP_HEADER
from smalt.web.asleep import AsleepApp

SETTINGS = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 2}
HEADER = {ASLEEP_HEADER: "churn-scores/blue", "x-request-id": "r1"}


class _Replica(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        for name, value in (("x-request-id", self.headers["x-request-id"]), ("content-length", str(len(body)))):
            self.send_header(name, value)
        assert ASLEEP_HEADER not in self.headers
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return ""


@contextmanager
def replica(path: Path) -> Iterator[Address]:
    with UnixStreamServer(str(path), _Replica) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Address(f"unix:{path}")
        finally:
            server.shutdown()
            thread.join()


class Caller(threading.Thread):
    """One request, in a loop of its own."""

    def __init__(self, harness: Harness, **headers: str) -> None:
        super().__init__()
        self._harness, self._headers = harness, headers or HEADER
        self.answer = httpx.Response(500)

    def run(self) -> None:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=AsleepApp(self._harness.platform))
            async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
                return await client.post("/score?a=1", content=b"[1, 2]", headers=self._headers)

        self.answer = asyncio.run(call())


@pytest.fixture
def sleeping(harness: Harness) -> Harness:
    prepare(harness, KEY)
    deploy(harness, scaleSettings=SETTINGS)
    come_up(harness)
    with harness.database.write() as connection:
        decide(connection, BLUE.lower(), 0, harness.clock())
    harness.settle()
    assert not live(harness)
    return harness


def woken(harness: Harness) -> str:
    """The instance that was started for who waits."""
    pause = threading.Event()
    for _ in range(1000):
        harness.settle()
        if found := live(harness):
            (name,) = found
            return name
        pause.wait(0.005)
    raise AssertionError("nobody was woken")


def test_it_is_answered_by_the_instance_that_came_up(sleeping: Harness, tmp_path: Path) -> None:
    caller = Caller(sleeping)
    caller.start()
    name = woken(sleeping)
    assert decided(sleeping.row(BLUE))["count"] == 1
    with replica(tmp_path / "r.sock") as address:
        sleeping.engine.start(name)
        sleeping.engine.states[name] = replace(sleeping.engine.states[name], address=address)
        sleeping.engine.ready(name)
        sleeping.settle()
        caller.join(20)
    assert caller.answer.status_code == 201 and caller.answer.content == b"[1, 2]"
    assert caller.answer.headers["x-request-id"] == "r1"


def test_an_instance_that_ends_again_and_again_is_told_to_who_waits(sleeping: Harness) -> None:
    caller = Caller(sleeping)
    caller.start()
    for _ in range(3):
        sleeping.engine.finish(woken(sleeping), 1, error="ImportError: no module named churn")
        sleeping.settle()
        sleeping.clock.pass_(30)
    caller.join(20)
    assert caller.answer.status_code == 503 and caller.answer.headers["retry-after"]
    assert "those that were started ended" in caller.answer.json()["error"]["message"]


def test_what_is_not_there_cannot_be_woken(harness: Harness) -> None:
    caller = Caller(harness, **{ASLEEP_HEADER: "none/blue"})
    caller.start()
    caller.join(20)
    assert caller.answer.status_code == 503 and caller.answer.json()["error"]["code"] == "NoInstance"
