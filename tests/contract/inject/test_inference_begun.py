"""The gateway is told when the model is called with a request: it gives that to no other instance then."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from live.inference import Server, server
from live.patience import PATIENCE_S
from live.platform import eventually
from smalt.agent.linux import readable

PROXIED = "x-envoy-expected-rq-timeout-ms: 5000"
BEGUN = b"HTTP/1.1 102 Processing\r\n\r\n"


class Line(socket.socket):
    """A connection to a server on which requests are sent, and all that comes is read."""

    def __init__(self, one: Server) -> None:
        super().__init__(socket.AF_UNIX)
        self.settimeout(10)
        self.connect(str(one.socket))

    def post(self, body: object, *headers: str, version: str = "1.1") -> None:
        text = json.dumps(body)
        head = [f"POST /score HTTP/{version}", "Host: x", f"Content-Length: {len(text)}", *headers]
        self.sendall("\r\n".join([*head, "", text]).encode())

    def until(self, end: bytes) -> bytes:
        """What comes, up to `end`; all of it where the other side ends first."""
        found = b""
        while not found.endswith(end) and (piece := self.recv(65536)):
            found += piece
        return found

    def silent(self) -> bool:
        return not readable(self.fileno(), 0)


def test_a_request_of_the_gateway_is_told_of_once_the_model_has_it_and_not_before(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with server(tmp_path) as one:
        one.until(200)
        with Line(one) as first, Line(one) as second:
            first.post({"wait": str(gate)}, PROXIED)
            assert first.until(BEGUN) == BEGUN
            second.post({"wait": str(gate)}, PROXIED)
            eventually(lambda: b"in_flight 2" in one.ask("GET", "/metrics")[1], "the second request", pause_s=0.01)
            assert second.silent()
            gate.touch()
            for line in (first, second):
                answer = line.until(b"}")
                assert answer.removeprefix(BEGUN).startswith(b"HTTP/1.1 200") and b" 102 " not in answer[len(BEGUN) :]
            second.post({"a": 1}, PROXIED)
            assert second.until(b"}").startswith(BEGUN)


def test_a_call_that_ends_the_process_was_told_of(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.until(200)
        with Line(one) as line:
            line.post({"die": 1}, PROXIED)
            assert line.until(b"never") == BEGUN
        assert one.process.wait(PATIENCE_S) == 7


@pytest.mark.parametrize(("headers", "version"), [((), "1.1"), ((PROXIED,), "1.0")])
def test_who_asks_directly_or_is_too_old_is_told_nothing(tmp_path: Path, headers: tuple[str], version: str) -> None:
    with server(tmp_path) as one:
        one.until(200)
        with Line(one) as line:
            line.post({"a": 1}, *headers, version=version)
            assert line.until(b"}").startswith(b"HTTP/1.1 200")
