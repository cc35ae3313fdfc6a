"""The port stays open while Envoy is killed and started again: who connects meanwhile waits, and is not refused."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_site import Site, wait

from live.patience import ANSWER_S
from live.ports import free_port
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.cli import port_holder
from smalt.gateway import bootstrap
from smalt.gateway.addresses import addresses
from smalt.gateway.bootstrap import binary
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings

STARTS_AND_WAITS = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"


class HeldSite(Site):
    """A site whose Envoy is started as the supervisor does it: by a process that `supervisor` is."""

    supervisor: subprocess.Popen[bytes] | None = None

    @property
    def held(self) -> tuple[Path, int, list[str]]:
        return self.settings.run, self.settings.port, addresses(self.settings.host)

    def start(self) -> None:
        envoy = bootstrap.command(self.settings.envoy_bootstrap)
        command = port_holder.command(*self.held, version(), envoy)
        with (self.settings.root / "envoy.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-c", STARTS_AND_WAITS, *command], stdout=log, stderr=log
            )
        wait(self.gateway.listening, 15)

    def kill(self) -> None:
        """The supervisor, and with it Envoy: as the leash would, at once."""
        assert self.supervisor is not None
        found = subprocess.run(["pgrep", "-P", str(self.supervisor.pid)], capture_output=True, text=True, check=False)
        self.supervisor.kill()
        self.supervisor.wait()
        subprocess.run(["kill", "-KILL", *found.stdout.split()], check=False, stderr=subprocess.DEVNULL)


def version() -> str:
    asked = subprocess.run([str(binary()), "--hot-restart-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return asked.stdout.decode().strip()


@pytest.fixture
def site() -> Iterator[HeldSite]:
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(folder, "localhost", free_port())
    ensure_certificates(settings)
    tokens = TokenService(settings)
    made = HeldSite(settings, tokens, EnvoyGateway(settings, tokens))
    made.gateway.write_bootstrap()
    made.server()
    try:
        made.start()
        yield made
    finally:
        made.kill()
        port_holder.dismiss(settings.run)
        made.close()
        print((folder / "envoy.log").read_text()[-3000:], file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_protocol_is_the_one_that_the_holder_speaks() -> None:
    assert version() == port_holder.VERSION


def test_envoy_is_killed_again_and_again_and_nobody_is_refused(site: HeldSite) -> None:
    found: Counter[str] = Counter()
    stop = threading.Event()
    context = ssl.create_default_context(cafile=str(site.settings.tls / "ca.pem"))

    def connect() -> None:
        while not stop.is_set():
            try:
                line = socket.create_connection(("127.0.0.1", site.settings.port), timeout=ANSWER_S)
            except OSError as error:
                found[type(error).__name__] += 1
                continue
            with (
                line,
                contextlib.suppress(OSError),  # one that the killed Envoy had taken may break
                context.wrap_socket(line, server_hostname="localhost") as secure,
            ):
                secure.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                found["answered" if secure.recv(12).endswith(b" 200") else "broken"] += 1

    clients = [threading.Thread(target=connect) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(5):
            before = found["answered"]
            site.kill()
            site.start()
            wait(lambda before=before: found["answered"] > before)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(found) <= {"answered", "broken"}, found


def test_a_connection_that_came_while_nothing_ran_is_answered(site: HeldSite) -> None:
    site.kill()
    assert port_holder.holds(*site.held)
    context = ssl.create_default_context(cafile=str(site.settings.tls / "ca.pem"))
    with socket.create_connection(("127.0.0.1", site.settings.port), timeout=ANSWER_S) as waiting:
        site.start()
        with context.wrap_socket(waiting, server_hostname="localhost") as secure:
            secure.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert secure.recv(12).endswith(b" 200")


def test_dismissed_it_frees_the_port(site: HeldSite) -> None:
    site.kill()
    port_holder.dismiss(site.settings.run)
    assert not port_holder.holds(*site.held)
    wait(lambda: not site.listening())
    port_holder.dismiss(site.settings.run)  # again: nothing to do


def test_without_a_holder_and_with_another_protocol_envoy_opens_the_port_itself(
    site: HeldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    port_holder.dismiss(site.settings.run)
    site.kill()
    wait(lambda: not site.listening())
    monkeypatch.setattr(sys.modules[__name__], "version", lambda: "12.104")
    site.start()
    assert site.listening() and not port_holder.holds(*site.held)


def test_a_holder_that_was_killed_is_replaced_with_the_next_envoy(site: HeldSite) -> None:
    found = subprocess.run(["pgrep", "-f", f"hold {site.settings.run} "], capture_output=True, text=True, check=True)
    subprocess.run(["kill", "-KILL", *found.stdout.split()], check=True)
    assert site.listening()  # Envoy has the socket too
    site.kill()
    wait(lambda: not site.listening())
    site.start()
    assert port_holder.holds(*site.held)
