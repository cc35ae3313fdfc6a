"""A network of its own: the platform and nothing else."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from fakes.walled import PLAIN, PYTHON, USER, needs_root, succeeds, walled_root


def answer(listener: socket.socket) -> None:
    """A platform that says back what it is told, to its end."""
    while True:
        connection, _ = listener.accept()
        while data := connection.recv(1 << 16):
            connection.sendall(data)
        connection.close()


ECHO = """
import socket, sys, threading
size = 8_000_000
s = socket.create_connection(("localhost", int(sys.argv[1])))
def send():
    for at in range(0, size, 100_000): s.sendall(bytes([at // 100_000 % 251]) * 100_000)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
back = b"".join(iter(lambda: s.recv(1 << 16), b""))
assert back == b"".join(bytes([at // 100_000 % 251]) * 100_000 for at in range(0, size, 100_000)), len(back)
try: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2)
except OSError: print("alone")
"""


@pytest.mark.parametrize("agent", [pytest.param(None, marks=needs_root), pytest.param(PLAIN, marks=needs_root)])
def test_a_network_of_its_own_has_the_platform_and_nothing_else(agent: int | None) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("127.0.0.1", 0)) as listener,
        walled_root(agent, 0 if agent else USER, "network") as made,
    ):
        made.port = listener.getsockname()[1]
        platform = os.fork()
        if platform == 0:
            answer(listener)
        try:
            argv = [PYTHON, "-c", ECHO, str(made.port), str(other.getsockname()[1])]
            assert succeeds(made.run("", argv=argv)) == "alone\n"
        finally:
            os.kill(platform, signal.SIGKILL)
            os.waitpid(platform, 0)
