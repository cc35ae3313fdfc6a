"""Documents that the agent serves, over real sockets; the agent's loop is the test's."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Iterator

import pytest

from smalt.agent.documents import DocumentServer

URL = "https://ml.example:7443/metadata/endpoints"
TEXT = '[{"name": "Smalt"}]'


class Agent:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = DocumentServer({URL: TEXT}, self.selector)
        host, _, path = self.server.address(URL).removeprefix("http://").partition("/")
        self.address = (host.partition(":")[0], int(host.partition(":")[2]))
        self.path = f"/{path}"

    def turn(self) -> None:
        """All that is to be done now."""
        while found := self.selector.select(0.05):
            for key, _ in found:
                key.data()

    def connect(self) -> socket.socket:
        made = socket.create_connection(self.address, timeout=5)
        self.turn()
        return made

    def ask(self, request: str) -> tuple[str, str]:
        """The status line and the content."""
        with self.connect() as line:
            line.sendall(request.encode())
            self.turn()
            answer = line.makefile().read()
        head, _, content = answer.replace("\r\n", "\n").partition("\n\n")
        return head.partition("\n")[0], content


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.server.close()
    assert not made.selector.get_map()


def test_the_document_is_at_the_same_path(agent: Agent) -> None:
    assert agent.path == "/metadata/endpoints"
    assert agent.ask(f"GET {agent.path} HTTP/1.1\r\nHost: x\r\n\r\n") == ("HTTP/1.1 200 OK", TEXT)
    assert agent.ask(f"GET {agent.path}?api-version=2019-05-01 HTTP/1.1\r\n\r\n")[1] == TEXT
    assert agent.ask(f"HEAD {agent.path} HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /elsewhere HTTP/1.1", "404 Not Found"), ("POST /metadata/endpoints HTTP/1.1", "405 Method Not Allowed")],
)
def test_nothing_else_is_served(agent: Agent, request_line: str, status: str) -> None:
    assert agent.ask(f"{request_line}\r\n\r\n") == (f"HTTP/1.1 {status}", "")


def test_a_request_may_come_in_parts(agent: Agent) -> None:
    with agent.connect() as line:
        for part in ("GET /metadata", "/endpoints HTTP/1.1\r\n", "Host: x\r\n\r\n"):
            line.sendall(part.encode())
            agent.turn()
        assert line.makefile().read().endswith(TEXT)


def test_who_says_nothing_holds_nobody_up(agent: Agent) -> None:
    silent = [agent.connect() for _ in range(70)]
    assert silent[0].recv(1) == b""  # the oldest was dropped for a newer one
    assert agent.ask(f"GET {agent.path} HTTP/1.1\r\n\r\n")[1] == TEXT
    for one in silent:
        one.close()
    agent.turn()
    assert len(agent.selector.get_map()) == 1


def test_a_request_without_end_is_dropped(agent: Agent) -> None:
    with agent.connect() as line:
        for _ in range(10):
            with contextlib.suppress(OSError):  # once it is dropped
                line.sendall(b"x" * 8192)
            agent.turn()
        assert len(agent.selector.get_map()) == 1
