"""Who comes to a service of a job, and what of him reaches its program."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fakes.jobs import JOBS, submit
from fakes.platform import OWNER, Harness
from smalt.agent.service_spec import ServiceState
from smalt.arm import services
from smalt.arm.errors import ArmError, unauthorized
from smalt.arm.ports import Principal
from smalt.arm.services import Place
from smalt.auth.service_access import COOKIE, LINK_LIFETIME_S, ServiceAccess
from smalt.store import resources
from smalt.studio.app import VENDORED
from smalt.unix_socket import listen
from smalt.web.services import ServiceDoors, ServiceGate
from smalt.web.terminals import TerminalPage

PAGE = {"Accept": "text/html,*/*"}
OTHER = "https://other-0-0123456789abcdef-a1-n0.services.localhost:7443"


class Site:
    """A job with a service at port 8080, a gate in front of it, and its program's end of each line."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        submit(harness, services={"app": {"port": 8080}, "idle": {"port": 8081}})
        harness.settle()
        (self.task,) = harness.engine.starts
        harness.engine.start(self.task)
        self.serve(app=ServiceState("Running", 8080), idle=ServiceState(error="Nothing of this job listens."))
        self.host = f"app-0-{self.task.removeprefix('job-')}.services.localhost:7443"
        self.refused = ""
        self.principal = OWNER
        access = ServiceAccess(harness.settings, harness.database, harness.clock)
        self.doors = ServiceDoors(harness.platform, access, self._authorize)
        self.gate = ServiceGate(harness.platform, self.doors, self._authenticate, TerminalPage(VENDORED))
        self.ended = threading.Event()
        listener = listen(harness.settings.services_socket, 64)
        self.thread = threading.Thread(target=self.gate.run, args=(listener, self.ended))
        self.thread.start()

    def serve(self, **states: ServiceState) -> None:
        self.harness.engine.serve(self.task, **states)
        self.harness.settle()

    def close(self) -> None:
        self.ended.set()
        self.thread.join()

    def _authenticate(self, scope: Any) -> Principal:
        if dict(scope["headers"])[b"authorization"] != b"Bearer good":
            raise unauthorized("The token is not one of ours.")
        return self.principal

    def _authorize(self, principal: Principal, action: str, scope: str) -> None:
        if self.refused:
            raise ArmError(403, "AuthorizationFailed", self.refused)
        assert (principal, action.rpartition("/")[2], scope) == (self.principal, "write", f"{JOBS}/train-1".lower())

    def send(
        self, path: str = "/", method: str = "GET", host: str = "", more: str = "", **headers: str
    ) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(20)
        line.connect(str(self.harness.settings.services_socket))
        named = {"Host": host or self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        line.sendall(("\r\n".join(lines) + "\r\n\r\n" + more).encode())
        return line

    def ask(self, path: str = "/", **more: str) -> tuple[int, dict[str, str], str]:
        """What the gate itself answers."""
        with self.send(path, **more) as line:
            said = b"".join(iter(lambda: line.recv(65536), b"")).decode()
        head, _, body = said.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), dict(one.split(": ", 1) for one in lines), body

    def passed(
        self, path: str = "/", answer: bytes = b"HTTP/1.1 200 OK\r\n\r\nhello", **more: str
    ) -> tuple[str, bytes]:
        """What the program was asked, and what came back."""
        count = len(self.harness.engine.reached)
        with self.send(path, **more) as line:
            program = self._program(count, line)
            asked = program.recv(65536).decode()
            program.sendall(answer)
            program.close()
            return asked, b"".join(iter(lambda: line.recv(65536), b""))

    def _program(self, count: int, line: socket.socket) -> socket.socket:
        for _ in range(2000):
            if len(self.harness.engine.reached) > count:
                _, port, program = self.harness.engine.reached[count]
                assert port == 8080
                program.settimeout(20)
                return program
            line.settimeout(0.01)
            try:
                raise AssertionError(line.recv(65536))
            except TimeoutError:
                line.settimeout(20)
        raise AssertionError("nobody reached it")

    def entered(self) -> str:
        """The cookie of a browser that has come by a link."""
        place = Place.read(f"{self.task}.0")
        assert place is not None
        link = self.doors.link(OWNER, place, "/deep?x=1")
        status, headers, _ = self.ask(link.partition(":7443")[2])
        assert (status, headers["Location"]) == (303, "/deep?x=1")
        return headers["Set-Cookie"].partition(";")[0]

    def feed(self) -> list[str]:
        found = self.harness.get(f"{JOBS}/train-1/changes?what=connected").json()["value"]
        return [one["reason"] for one in found]


@pytest.fixture
def site(harness: Harness) -> Iterator[Site]:
    made = Site(harness)
    yield made
    made.close()


def test_a_token_lets_in_and_does_not_reach_the_program(site: Site) -> None:
    more = {
        "Authorization": "Bearer good",
        "Cookie": f"a=1; {COOKIE}=x; b=2",
        "X_Envoy_Attempt_Count": "1",
        "X_Own": "y",
    }
    asked, answer = site.passed("/a%2Fb?c=d", **more)
    assert asked.startswith("GET /a%2Fb?c=d HTTP/1.1\r\n") and answer == b"HTTP/1.1 200 OK\r\n\r\nhello"
    headers = dict(one.split(": ", 1) for one in asked.strip().split("\r\n")[1:])
    assert headers == {"Host": site.host, "X-Own": "y", "Cookie": "a=1; b=2", "Connection": "close"}
    assert site.feed() == ["service app of node 0"]


def test_a_body_goes_in_and_frames_go_both_ways(site: Site) -> None:
    upgrade = {"Authorization": "Bearer good", "Connection": "Upgrade", "Upgrade": "websocket"}
    with site.send(more="early", **upgrade) as line:
        program = site._program(0, line)
        asked = program.recv(65536)
        while not asked.endswith(b"early"):
            asked += program.recv(65536)
        assert b"\r\nUpgrade: websocket\r\n" in asked and b"\r\nConnection: Upgrade\r\n" in asked
        program.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 101")
        for word in (b"there", b"and on"):
            line.sendall(word)
            assert program.recv(100) == word
            program.sendall(word[::-1])
            assert line.recv(100) == word[::-1]
        line.close()
        assert program.recv(100) == b""


def test_strangers_are_refused_before_anything_is_looked_up(site: Site) -> None:
    assert site.ask()[0] == 401
    assert site.ask(Authorization="Bearer bad")[0] == 401
    status, _, body = site.ask(Cookie=f"{COOKIE}=made.up")
    assert status == 401 and "Bearer" in body
    status, headers, _ = site.ask("/x?y=z", **PAGE)
    assert status == 302 and headers["Location"].startswith("https://localhost:7443/services/open?service=job-")
    assert not site.harness.engine.reached and not site.feed()


def test_who_may_not_connect_to_the_job_may_not_come(site: Site) -> None:
    site.refused = "not yours"
    assert site.ask(Authorization="Bearer good")[0] == 403
    site.refused = ""
    for kind in ("job", "endpoint"):
        site.principal = Principal("o", "n", kind, "t", scope="/s")
        status, _, body = site.ask(Authorization="Bearer good")
        assert status == 403 and "connect to no job" in body


def test_a_link_opens_once_and_its_cookie_is_for_this_service_alone(site: Site) -> None:
    place = Place.read(f"{site.task}.0")
    assert place is not None
    path = site.doors.link(OWNER, place).partition(":7443")[2]
    status, headers, _ = site.ask(path)
    cookie = headers["Set-Cookie"]
    assert status == 303 and headers["Location"] == "/"
    assert cookie.startswith("__Host-") and all(
        one in cookie for one in ("; Path=/;", "; HttpOnly", "; Secure", "SameSite=Lax")
    )
    assert site.ask(path)[0] == 401, "it was used"
    asked, _ = site.passed(Cookie=f"mine=1; {cookie.partition(';')[0]}")
    assert "Cookie: mine=1\r\n" in asked and COOKIE not in asked
    idle = site.host.replace("app-0", "idle-1")
    assert site.ask(host=idle, Cookie=cookie.partition(";")[0])[0] == 401
    late = site.doors.link(OWNER, place).partition(":7443")[2]
    site.harness.clock.pass_(LINK_LIFETIME_S + 1)
    assert site.ask(late)[0] == 401
    assert site.feed() == ["service app of node 0"]


@pytest.mark.parametrize("to", ["//evil.example/", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: x"])
def test_a_link_leads_nowhere_else(site: Site, to: str) -> None:
    place = Place.read(f"{site.task}.0")
    assert place is not None
    status, headers, _ = site.ask(site.doors.link(OWNER, place, to).partition(":7443")[2])
    assert (status, headers["Location"]) == (303, "/")


def test_pages_of_other_origins_cannot_use_a_visit(site: Site) -> None:
    cookie, own = site.entered(), f"https://{site.host}"
    foreign: list[dict[str, str]] = [
        {"method": "POST", "Origin": OTHER},
        {"method": "POST"},
        {"Origin": "https://localhost:7443"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"method": "POST", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": OTHER},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    ]
    for one in foreign:
        assert site.ask(Cookie=cookie, **one)[0] == 403, one
    fine: list[dict[str, str]] = [
        {},
        {"method": "POST", "Origin": own, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": own},
    ]
    for one in fine:
        assert site.passed(Cookie=cookie, **one)[1].endswith(b"hello"), one


def test_what_is_not_there_is_said(site: Site) -> None:
    token = {"Authorization": "Bearer good"}
    status, _, body = site.ask(host=site.host.replace("app-0", "idle-1"), **token)
    assert (status, "Nothing of this job listens" in body) == (409, True)
    site.serve(app=ServiceState("Failed", error="app has ended. It fell."))
    status, _, body = site.ask(**token)
    assert (status, "It fell" in body) == (409, True)
    for host in (
        "services.localhost:7443",
        "app-9-0123456789abcdef-a1-n0.services.localhost",
        site.host.replace("app-0", "app-7"),
    ):
        assert site.ask(host=host, **token)[0] in (404, 409), host
    site.serve(app=ServiceState(error="Nothing of this job listens at port 8080."))
    assert site.ask(**token)[0] == 409
    site.serve(app=ServiceState("Running", 8080))
    site.harness.engine.finish(site.task)
    site.harness.settle()
    assert site.ask(**token)[0] in (404, 409)


def test_nonsense_is_an_error_and_no_traceback(site: Site) -> None:
    with site.send(method="G E T") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")
    with site.send(X=70_000 * "x") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 431 ")
    for path in ("//[", "//[x/y", "//a[b?c"):
        assert site.ask(path)[0] == 401, path
        assert site.passed(path, Authorization="Bearer good")[0].startswith(f"GET {path} HTTP/1.1"), path


def test_nobody_is_led_to_what_no_agent_has_told_of(site: Site) -> None:
    """An older one would run a shell for each that comes."""
    with site.harness.database.write() as connection:
        row = resources.get(connection, f"{JOBS}/train-1".lower())
        assert row is not None
        status = {name: value for name, value in row.status.items() if name != "services"}
    found = services.instances(site.harness.settings.url, replace(row, status=status), 0)["app"]
    assert found["port"] == 8080
    assert "still starting" in services.why_not(replace(row, status=status), 0, "app", found)
    assert services.why_not(row, 0, "app", services.instances(site.harness.settings.url, row, 0)["app"]) == ""


def test_ssh_and_other_nodes_are_told_apart(harness: Harness) -> None:
    keys = {"sshPublicKeys": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a"}
    wanted = {"nb": {"jobServiceType": "JupyterLab"}, "shell": {"jobServiceType": "SSH", "properties": keys}}
    submit(harness, services=wanted)
    harness.settle()
    (task,) = harness.engine.starts
    harness.engine.start(task)
    harness.engine.serve(task, nb=ServiceState(error="It does not listen yet."))
    harness.settle()
    access = ServiceAccess(harness.settings, harness.database, harness.clock)
    doors = ServiceDoors(harness.platform, access, lambda *_: None)
    for number, why in enumerate(("does not listen yet", "smalt services")):
        place = Place.read(f"{task}.{number}")
        assert place is not None
        with pytest.raises(ArmError, match=why):
            doors.link(OWNER, place)


def test_a_service_that_hangs_holds_up_no_other(site: Site) -> None:
    """Its program takes no connections; its visitors wait, and others come through."""
    engine, hangs = site.harness.engine, threading.Event()
    site.serve(app=ServiceState("Running", 8080), idle=ServiceState("Running", 8081))
    reach, waiting = engine.reach, threading.Semaphore(0)

    def slow(name: str, port: int) -> socket.socket:
        waiting.release()
        assert hangs.wait(60)
        return reach(name, port)

    engine.reach = slow
    lines = [site.send(Authorization="Bearer good") for _ in range(40)]
    for _ in range(4):
        assert waiting.acquire(timeout=20)
    try:
        assert site.ask()[0] == 401, "who comes is looked at meanwhile"
        assert not waiting.acquire(blocking=False), "no more threads than four are for one job"
    finally:
        hangs.set()
        for line in lines:
            line.close()


def test_what_is_answered_before_all_is_sent_arrives(site: Site) -> None:
    for count in range(5):
        with site.send(method="POST", Authorization="Bearer good", Content_Length="100000000") as line:
            program = site._program(count, line)
            program.recv(65536)
            sending = threading.Thread(target=_send_all, args=(line, 400))
            sending.start()
            program.recv(65536)
            program.sendall(b"HTTP/1.1 413 Too Large\r\n\r\n")
            program.close()
            assert line.recv(65536).startswith(b"HTTP/1.1 413")
            line.shutdown(socket.SHUT_WR)
            sending.join()


def _send_all(line: socket.socket, pieces: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(pieces):
            line.sendall(bytes(65536))
