"""A request to a deployment that sleeps: held until an instance is there, passed on, or refused with the reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from fakes.deployments import BLUE, KEY, come_up, deploy, live
from fakes.examples import prepare
from fakes.platform import Harness
from smalt.agent.wire import Address
from smalt.arm.scale import decide, decided
from smalt.gateway.listener import ASLEEP_HEADER, PROCESSING
from smalt.kinds.serving import replicas
from smalt.settings import Settings
from smalt.web import asleep
from smalt.web.asleep import AsleepApp

SETTINGS = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 2}
HEADER = {ASLEEP_HEADER: "churn-scores/blue", "x-request-id": "r1"}


class _Replica(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("x-line", self.path)
        if team := self.headers["x-team"]:
            self.send_header("x-team", team)
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
                raw = [(name.encode(), value.encode()) for name, value in self._headers.items()]
                return await client.post("/score/a%2Fb?a=1", content=b"[1, 2]", headers=raw)

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
    caller = Caller(sleeping, **HEADER, **{"x-team": "é"})
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
    assert caller.answer.headers["x-line"] == "/score/a%2Fb?a=1"
    assert dict(caller.answer.headers.raw)[b"x-team"] == "é".encode()


def test_it_is_woken_again_where_somebody_sends_it_to_sleep_meanwhile(sleeping: Harness) -> None:
    caller = Caller(sleeping)
    caller.start()
    woken(sleeping)
    with sleeping.database.write() as connection:
        decide(connection, BLUE.lower(), 0, sleeping.clock())
    sleeping.settle()
    for _ in range(3):
        sleeping.engine.finish(woken(sleeping), 1)
        sleeping.settle()
        sleeping.clock.pass_(30)
    caller.join(40)
    assert caller.answer.status_code == 503


async def _awake(app: AsleepApp, endpoint: str, name: str) -> Any:
    return SimpleNamespace(why="", addresses=(Address("127.0.0.1:1"),))


def test_the_time_to_come_up_is_not_that_of_the_answer(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def passed_on(request: Any, address: Address, settings: Settings) -> PlainTextResponse:
        answered = asyncio.Event()
        asyncio.get_running_loop().call_later(4 * asleep.START_S, answered.set)
        await answered.wait()
        return PlainTextResponse("late")

    monkeypatch.setattr(asleep, "START_S", 0.05)
    monkeypatch.setattr(asleep, "_passed_on", passed_on)
    monkeypatch.setattr(AsleepApp, "_awake", _awake)
    caller = Caller(harness)
    caller.run()
    assert caller.answer.status_code == 200 and caller.answer.text == "late"


def test_what_is_cut_off_leaves_no_connection(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[httpx.AsyncClient] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    class Client(httpx.AsyncClient):
        def __init__(self, **_: Any) -> None:
            super().__init__(transport=httpx.MockTransport(lambda request: httpx.Response(200, content=pieces())))
            clients.append(self)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise asyncio.CancelledError

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def call() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "raw_path": b"/",
            "path": "/",
            "query_string": b"",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "headers": [(name.encode(), value.encode()) for name, value in HEADER.items()],
        }
        await AsleepApp(harness.platform)(scope, receive, send)

    monkeypatch.setattr(asleep.httpx, "AsyncClient", Client)
    monkeypatch.setattr(AsleepApp, "_awake", _awake)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())
    assert [one.is_closed for one in clients] == [True]


def test_an_instance_that_ends_with_a_request_in_hand_is_told_and_nobody_else_gets_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def end(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

    caller = Caller(harness)
    monkeypatch.setattr(asleep, "_transport", lambda *_: httpx.MockTransport(end))
    monkeypatch.setattr(AsleepApp, "_awake", _awake)
    caller.run()
    assert (caller.answer.status_code, caller.answer.json()["error"]["code"]) == (502, "InstanceEnded")
    assert len(seen) == 1 and "retry-after" not in caller.answer.headers


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


def test_only_the_gateways_health_check_is_told_that_all_is_well(harness: Harness) -> None:
    """Envoy takes a deployment's new hosts over before its new routes, which say for whom a request is."""

    async def ask(method: str, url: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=AsleepApp(harness.platform))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, url)

    assert asyncio.run(ask("GET", "http://replica/")).status_code == 200
    for method, url in (("POST", "http://localhost/score"), ("POST", "http://replica/score"), ("GET", "http://a/")):
        answer = asyncio.run(ask(method, url))
        assert answer.status_code == 503 and answer.headers["retry-after"], url


def test_of_those_that_end_again_and_again_nobody_waits_for_the_next(harness: Harness) -> None:
    prepare(harness, KEY)
    deploy(harness)
    come_up(harness)
    for _ in range(12):
        harness.engine.finish(live(harness).pop(), 137)
        harness.settle()
        caller = Caller(harness)
        if replicas.pause_left_s(harness.row(BLUE).status["target"], 0, harness.clock()) > asleep._SOON_S:
            caller.start()
            caller.join(20)
            assert caller.answer.status_code == 503 and "end again and again" in caller.answer.text
            return
        harness.clock.pass_(asleep._SOON_S)
        harness.settle()
        come_up(harness)
    raise AssertionError("the pauses did not grow")


def test_all_that_wait_look_once_and_one_whose_client_has_gone_waits_no_more(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    async def call() -> None:
        up = asyncio.Event()

        async def awake(app: AsleepApp, endpoint: str, name: str) -> Any:
            looks.append(name)
            await up.wait()
            return SimpleNamespace(why="", addresses=(Address("127.0.0.1:1"),))

        async def passed_on(request: Any, address: Address, settings: Settings) -> PlainTextResponse:
            return PlainTextResponse(await request.body())

        monkeypatch.setattr(AsleepApp, "_awake", awake)
        monkeypatch.setattr(asleep, "_passed_on", passed_on)
        monkeypatch.setattr(asleep, "_WAITING_MOST", 3)
        app = AsleepApp(harness.platform)
        clients = [_Client(app) for _ in range(4)]
        refused = await clients.pop().answered()
        assert refused[0] == 503 and b"3 requests wait already" in refused[1]
        clients[0].goes.set()
        assert (await clients[0].answered())[0] == 503 and looks == ["blue"]
        up.set()
        for one in clients[1:]:
            assert await one.answered() == (200, b"[1, 2]") and one.told == ["worked on"]
        assert clients[0].told == []
        leaving = _Client(app)
        leaving.goes.set()
        up.clear()
        assert (await leaving.answered())[0] == 503 and len(looks) == 2
        assert not app._looks

    asyncio.run(call())


class _Client:
    """A request whose body comes in two pieces, and which goes when it is told."""

    def __init__(self, app: AsleepApp) -> None:
        self.goes = asyncio.Event()
        self.told: list[str] = []
        self._pieces = [
            {"type": "http.request", "body": b"[1, ", "more_body": True},
            {"type": "http.request", "body": b"2]", "more_body": False},
        ]
        self._sent: list[Any] = []
        headers = [(name.encode(), value.encode()) for name, value in HEADER.items()]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/score",
            "raw_path": b"/score",
            "query_string": b"",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "headers": headers,
            "extensions": {PROCESSING: lambda: self.told.append("worked on")},
        }
        self._call = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._pieces:
            return self._pieces.pop(0)
        await self.goes.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._sent.append(message)

    async def answered(self) -> tuple[int, bytes]:
        async with asyncio.timeout(20):
            await self._call
        return self._sent[0]["status"], b"".join(one.get("body", b"") for one in self._sent)
