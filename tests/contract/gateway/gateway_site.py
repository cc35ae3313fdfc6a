"""A real Envoy in front of real processes on sockets, reached over TLS as any client would."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live.patience import PATIENCE_S
from live.ports import free_port
from smalt.agent.wire import Address
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway.bootstrap import command
from smalt.gateway.crowds import Network, Room, own_networks
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.gateway.listener import ROOM
from smalt.settings import Settings

KEY, OTHER_KEY = "first-key-0123456789", "second-key-0123456789"
REPLICA = Path(__file__).with_name("replica.py")


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    spelled: Sequence[str] = ()  # the names of the headers as they came

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One kept-alive TLS connection, opened again where the other side closed it."""

    def __init__(self, settings: Settings, context: ssl.SSLContext) -> None:
        self._context = context
        self._settings = settings
        self._connection: http.client.HTTPSConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 20, **headers: str) -> Answer:
        if self._connection is None:
            host, port = self._settings.host, self._settings.port
            self._connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=timeout)
        sent = {name if "-" in name else name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._connection.request(method, path, body=body, headers=sent)
            got = self._connection.getresponse()
            content = got.read()
        except BaseException:
            self.close()
            raise
        if got.will_close:
            self.close()
        return Answer(
            got.status, {name.lower(): value for name, value in got.getheaders()}, content, got.headers.keys()
        )

    def score(self, endpoint: str, path: str = "/score", key: str = KEY, **headers: str) -> Answer:
        return self.ask("POST", f"/endpoints/{endpoint}{path}", b"{}", Authorization=f"Bearer {key}", **headers)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class Site:
    """A platform's root with Envoy and replicas in it."""

    settings: Settings
    tokens: TokenService
    gateway: EnvoyGateway
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    envoy: subprocess.Popen[bytes] | None = None
    _context: ssl.SSLContext | None = None

    def start_envoy(self) -> float:
        """Seconds until it answers a request on its port."""
        began = time.perf_counter()
        with (self.settings.root / "envoy.log").open("ab") as log:
            self.envoy = subprocess.Popen(command(self.settings.envoy_bootstrap), stdout=log, stderr=log)
        wait(self.listening)
        return time.perf_counter() - began

    def listening(self) -> bool:
        try:
            with socket.create_connection((self.settings.host, self.settings.port), timeout=1):
                return True
        except OSError:
            return False

    def kill_envoy(self) -> None:
        assert self.envoy is not None
        self.envoy.kill()
        self.envoy.wait()

    def spawn(self, where: Path | Address, name: str, status: int = 200) -> subprocess.Popen[str]:
        """`status`: what it answers to all requests but health checks."""
        address = where if isinstance(where, Address) else f"unix:{where}"
        command = [sys.executable, str(REPLICA), address, name, str(status)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def at(self, name: str) -> Address:
        return Address(f"unix:{self.settings.run / name}.sock")

    def replica(self, name: str, status: int = 200) -> tuple[Address, subprocess.Popen[str]]:
        return self.at(name), self.spawn(self.at(name), name, status)

    def server(self) -> subprocess.Popen[str]:
        return self.spawn(self.settings.server_socket, "server")

    def put(self, *endpoints: EndpointRoute) -> str:
        """Apply, and wait until requests follow."""
        version = self.gateway.apply(endpoints)
        wait(lambda: self.gateway.in_force(version))
        return version

    def client(self) -> Client:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self.settings.tls / "bundle.pem"))
        return Client(self.settings, self._context)

    def stat(self, name: str) -> str:
        return self.gateway._admin.get(f"/stats?filter={name}")

    def close(self) -> None:
        for process in [*self.processes, self.envoy]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if process is not None and process.stdout is not None:
                process.stdout.close()


class Load:
    """Clients in threads that score without a pause; every answer, and every exception, is counted."""

    def __init__(self, site: Site, endpoint: str, clients: int = 4, path: str = "/score") -> None:
        self.answers: list[tuple[int, str]] = []
        self._site, self._endpoint, self._path = site, endpoint, path
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until `count` further answers have come."""
        goal = len(self.answers) + count
        wait(lambda: len(self.answers) >= goal)

    def failures(self) -> list[tuple[int, str]]:
        return [one for one in self.answers if one[0] != 200]

    def _run(self) -> None:
        client = self._site.client()
        while not self._stop.is_set():
            try:
                answer = client.score(self._endpoint, self._path)
                self.answers.append((answer.status, answer.headers.get("azureml-model-deployment", "")))
            except Exception as error:  # whatever it was: the test wants to know
                self.answers.append((0, repr(error)))
        client.close()


def wait(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Until `condition` holds; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        pause.wait(0.005)


def endpoint(
    name: str,
    traffic: Mapping[str, int],
    deployments: Mapping[str, Sequence[Address]],
    mirror: Mapping[str, int] | None = None,
    timeout_s: float = 5,
    **more: Any,
) -> EndpointRoute:
    """An endpoint with KEY and OTHER_KEY; `deployments` say by name where replicas listen."""
    found = [DeploymentRoute(one, addresses, timeout_s, 4) for one, addresses in deployments.items()]
    return EndpointRoute(name, more.pop("keys", (KEY, OTHER_KEY)), traffic, mirror or {}, found, **more)


@contextmanager
def standing(
    room: Room = ROOM,
    host: str = "localhost",
    own: Callable[[], Sequence[Network]] = own_networks,
    **more: Any,
) -> Iterator[Site]:
    """A site of its own, with `more` of the settings and room for so many; what Envoy said last is printed when it goes.

    `own`: what it takes for the addresses of its machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(folder, host, free_port(), **more)
    ensure_certificates(settings)
    tokens = TokenService(settings)
    made = Site(settings, tokens, EnvoyGateway(settings, tokens, room=room, own=own))
    made.gateway.write_bootstrap()
    try:
        made.start_envoy()
        yield made
    finally:
        made.close()
        print((folder / "envoy.log").read_text()[-3000:], file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
