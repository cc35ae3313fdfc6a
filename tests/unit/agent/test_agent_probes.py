"""A `Prober` and real servers; the agent's loop is the test's. Over unix sockets: tests/contract/engines."""

from __future__ import annotations

import selectors
import socket
import time

import pytest

from live.patience import PATIENCE_S
from smalt.agent.probes import Prober
from smalt.agent.wire import Address, Probe


class Asked:
    """A probe of `address` while the test drives its loop."""

    def __init__(self, address: str, **settings: float) -> None:
        self.selector = selectors.DefaultSelector()
        self.told: list[tuple[bool, str]] = []
        probe = Probe("/ready", failure_threshold=1, period_s=0.05, **settings)  # type: ignore[arg-type]
        self.prober = Prober(probe, Address(address), self.selector, lambda *said: self.told.append(said), eager=False)

    def turn(self, most_s: float = 5) -> None:
        self.prober.tick()
        for key, _ in self.selector.select(min(most_s, max(0.0, self.prober.due - time.monotonic()))):
            key.data()

    def verdict(self) -> tuple[bool, str]:
        deadline = time.monotonic() + PATIENCE_S
        while not self.told and time.monotonic() < deadline:
            self.turn()
        return self.told[-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_asked(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host.strip("[]"), 0), family=family) as server:
        asked = Asked(f"{host}:{server.getsockname()[1]}")
        server.settimeout(0)
        line = None
        while line is None:
            asked.turn(0.01)
            try:
                line, _ = server.accept()
            except BlockingIOError:
                continue
        with line:
            line.settimeout(0)
            received = b""
            while not received:
                asked.turn(0.01)
                try:
                    received = line.recv(4096)
                except BlockingIOError:
                    continue
            assert received.startswith(b"GET /ready HTTP/1.1\r\n")
            line.sendall(b"HTTP/1.1 503 Not yet\r\n\r\n")
            assert asked.verdict() == (False, "it answered 503")
            asked.prober.close()


def test_a_port_where_nobody_listens_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert Asked(f"127.0.0.1:{port}").verdict() == (False, "Connection refused")
