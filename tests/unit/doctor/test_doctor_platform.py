"""The platform on a root: settings, port, certificates, and whether it runs."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.machines import machine
from live.ports import free_port
from smalt.auth.certificates import SERVER_LIFETIME, ensure_certificates
from smalt.cli.probe import Probe
from smalt.cli.root import prepare, take_lock
from smalt.cli.supervisor import View
from smalt.cli.version import installed
from smalt.doctor import platform
from smalt.doctor.finding import State
from smalt.doctor.machine import Machine

NOW = datetime(2027, 1, 15, tzinfo=UTC)
STORE = "etc/ssl/certs/ca-certificates.crt"


@pytest.fixture
def examined(tmp_path: Path) -> Machine:
    made = machine(tmp_path, port=free_port())
    ensure_certificates(made.settings, NOW)
    return made


def test_settings(tmp_path: Path) -> None:
    examined = machine(tmp_path)
    assert platform.settings(examined).fact == "https://localhost:7443, by default"
    examined.settings.root.mkdir()
    file = examined.settings.root / "config.json"
    file.write_text('{"layout": 1, "port": 0}')
    found = platform.settings(examined)
    assert found.state is State.NO and "port must be" in found.fact and found.remedy == f"edit {file}"


def test_a_free_port_and_one_that_another_has(tmp_path: Path) -> None:
    examined = machine(tmp_path, port=free_port())
    assert platform.port(examined).fact == f"{examined.settings.port} is free"
    with socket.create_server(("127.0.0.1", examined.settings.port)):
        found = platform.port(examined)
    assert found.state is State.NO
    assert found.fact.startswith(f"{examined.settings.port} is in use by ") and f"process {os.getpid()}" in found.fact
    offered = int(found.remedy.split("--port ")[1].split()[0])
    assert offered != examined.settings.port
    socket.create_server(("127.0.0.1", offered)).close()


def test_the_port_of_the_platform_that_runs_here(tmp_path: Path) -> None:
    examined = machine(tmp_path, port=free_port())
    prepare(examined.settings)
    lock = take_lock(examined.settings.root)
    assert lock is not None
    lock.claim()
    try:
        with socket.create_server(("127.0.0.1", examined.settings.port)):
            assert platform.port(examined).fact == f"{examined.settings.port}, which this root's platform has"
        found = platform.server(examined)
        assert (found.state, found.fact) == (State.WARN, f"process {os.getpid()} is starting, or stopping")
    finally:
        lock.close()
    assert platform.server(examined).fact == "does not run"


async def answering(probe: Probe) -> bool:
    return True


@pytest.mark.parametrize(("version", "state"), [(installed(), State.OK), ("0.0.9", State.WARN)])
def test_a_server_of_another_version(
    tmp_path: Path, version: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View(pid=7, started_at=0.0, url="https://localhost:7443", version=version, ready=True, processes=[])
    monkeypatch.setattr(platform, "holder", lambda root: 7)
    monkeypatch.setattr(platform, "read_view", lambda path: view)
    assert platform.server(machine(tmp_path)).fact == "process 7 runs and does not answer"
    monkeypatch.setattr(platform.Probe, "answers", answering)
    found = platform.server(machine(tmp_path))
    assert found.state is state and version in found.fact


def test_certificates_before_there_are_any(tmp_path: Path) -> None:
    assert platform.certificates(machine(tmp_path)).state is State.NONE
    assert platform.trust(machine(tmp_path)).state is State.NONE


@pytest.mark.parametrize(
    ("later", "state", "text"),
    [
        (timedelta(0), State.OK, "the authority holds until 2037-01-12, the server's until 2028-02-16"),
        (SERVER_LIFETIME - timedelta(days=20), State.WARN, "server.pem ends on 2028-02-16"),
        (SERVER_LIFETIME + timedelta(days=1), State.WARN, "server.pem has ended on 2028-02-16"),
        (timedelta(days=3640), State.WARN, "ca.pem ends on 2037-01-12"),
    ],
)
def test_certificates_that_end(examined: Machine, later: timedelta, state: State, text: str) -> None:
    found = platform.certificates_found(examined, NOW + later)
    assert (found.state, found.fact) == (state, text)


def test_certificates_that_do_not_fit(examined: Machine, tmp_path: Path) -> None:
    tls = examined.settings.tls
    bundle = (tls / "bundle.pem").read_text()
    (tls / "bundle.pem").write_text(bundle.partition("# Smalt")[0])
    assert platform.certificates_found(examined, NOW).fact == "bundle.pem lacks Smalt's authority"
    (tls / "bundle.pem").unlink()
    assert platform.certificates_found(examined, NOW).state is State.WARN
    (tls / "server.pem").write_text("nonsense")
    assert platform.certificates_found(examined, NOW).fact == f"{tls / 'server.pem'} cannot be read"


def test_trust(examined: Machine) -> None:
    assert platform.trust(examined).fact == "the system has no store of authorities"
    store, tls = examined.base / STORE, examined.settings.tls
    store.parent.mkdir(parents=True)
    store.write_text((tls / "bundle.pem").read_text().partition("# Smalt")[0])
    found = platform.trust(examined)
    assert (found.state, found.fact) == (State.NONE, f"not in the system's store (/{STORE})")
    assert str(tls / "ca.pem") in found.remedy and "update-ca-certificates" in found.remedy
    store.write_text(store.read_text() + (tls / "ca.pem").read_text())
    assert platform.trust(examined).state is State.OK
