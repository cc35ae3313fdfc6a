"""Where a node waits for mpirun's order: who may call, for how long, and at which address."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from live.patience import PATIENCE_S
from live.ports import free_port
from smalt.agent import mpi
from smalt.agent.ranks import MpiSpec

SECRET = "s" * 64
ORDER = f"{SECRET}\nprted --daemon\0".encode()


class Node:
    """One that waits, at a port of its own."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.got: list[str] = []
        self.port = free_port()
        self._address = address
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        self.got = mpi.wait_for_order(self._address, self.port, SECRET)

    def call(self, said: bytes = b"") -> socket.socket:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                one = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
                break
            except ConnectionRefusedError:  # it does not listen yet
                assert time.monotonic() < until
        one.sendall(said)
        return one

    def ordered(self) -> list[str]:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.got


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The connections that would be handed on to what runs."""
    found: list[int] = []
    monkeypatch.setattr(mpi.os, "set_inheritable", lambda descriptor, inheritable: found.append(descriptor))
    yield found
    for one in found:
        os.close(one)


def test_an_order_may_come_in_pieces_and_its_line_stays_open(lines: list[int]) -> None:
    node = Node()
    with node.call(ORDER[:70]) as caller:
        time.sleep(0.05)
        caller.sendall(ORDER[70:])
        assert node.ordered() == ["bash", "-c", "prted --daemon"]
        assert len(lines) == 1 and os.write(lines[0], b"x") and caller.recv(1) == b"x"


def test_who_is_slow_or_knows_no_secret_keeps_nobody_waiting(lines: list[int]) -> None:
    node = Node()
    others = [node.call(said) for said in (b"", b"a", ORDER[:-1], b"x" * 65 + ORDER, b"\0")]
    with node.call(ORDER):
        assert node.ordered() and len(lines) == 1
    for one in others:
        one.close()


def test_who_goes_on_and_on_has_one_deadline(lines: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi, "_PATIENCE_S", 1.0)
    node = Node()
    with node.call() as slow, pytest.raises(OSError):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            slow.sendall(b"x")
            time.sleep(0.02)
    with node.call(ORDER):
        assert node.ordered()


def test_of_too_many_the_oldest_has_to_go(lines: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi, "_CALLERS", 2)
    node = Node()
    first, *others = [node.call() for _ in range(3)]
    assert first.recv(1) == b""
    others[-1].sendall(ORDER)
    assert node.ordered()
    for one in (first, *others):
        one.close()


def test_an_address_that_another_machine_translates_is_waited_for_at_all(lines: list[int]) -> None:
    node = Node("192.0.2.1")  # for documentation: no interface has it
    with node.call(ORDER):
        assert node.ordered()
    spec = MpiSpec(1, [1, 2], 1, SECRET, ["192.0.2.2", "192.0.2.1"])
    assert mpi._interface(spec) == "", "ranks cannot be bound to it, either"
