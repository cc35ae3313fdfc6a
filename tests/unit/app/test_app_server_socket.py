"""The server's socket: nobody else's, and only the gateway is believed where a request came from."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from live.patience import PATIENCE_S
from smalt.gateway.listener import PROCESSING
from smalt.server_socket import BACKLOG, PeerProtocol, is_sibling
from smalt.unix_socket import listen

ASK = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", "/", headers={"X-Envoy-External-Address": "10.0.0.1", "X-Forwarded-Proto": "https", "X-Other": "y"})
print(connection.getresponse().read().decode())
"""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/long":
        scope["extensions"][PROCESSING]()
    body = json.dumps({name.decode(): value.decode() for name, value in scope["headers"]}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "s"
    place.touch()  # what an earlier server left
    before = os.umask(0)  # noqa: TID251
    try:
        listener = listen(place, BACKLOG)
    finally:
        os.umask(before)  # noqa: TID251
    server = uvicorn.Server(uvicorn.Config(app, http=PeerProtocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    yield place
    server.should_exit = True
    thread.join(10)


def test_that_a_request_is_worked_on_is_said_before_its_answer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_it_is_its_users_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_other_threads_make_meanwhile_has_their_own_modes(tmp_path: Path) -> None:
    bound = threading.Event()

    def make() -> list[int]:
        made = []
        while not bound.is_set() or not made:
            folder = tmp_path / f"folder-{len(made)}"
            folder.mkdir(mode=0o700)
            made.append(stat.S_IMODE(folder.stat().st_mode))
        return made

    with ThreadPoolExecutor() as pool:
        making = pool.submit(make)
        for number in range(500):
            listen(tmp_path / f"{number}", BACKLOG).close()
        bound.set()
        assert set(making.result()) == {0o700}


def test_another_process_cannot_say_where_a_request_came_from(path: Path) -> None:
    asked = subprocess.run([sys.executable, "-c", ASK, str(path)], capture_output=True, text=True, check=True)
    headers = json.loads(asked.stdout)
    assert headers["x-other"] == "y"
    assert "x-envoy-external-address" not in headers and "x-forwarded-proto" not in headers


def test_what_the_supervisor_started_can(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: os.getpid())  # then a child of ours is what Envoy is to the server
    asked = subprocess.run([sys.executable, "-c", ASK, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(asked.stdout)["x-envoy-external-address"] == "10.0.0.1"


def test_siblings() -> None:
    assert is_sibling(os.getpid())
    assert not is_sibling(os.getppid()) and not is_sibling(2**22 + 1)
