"""Replicas on a node: reached through its forwarder by whoever shows the gateway's certificate, and by nobody else."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from live.patience import ANSWER_S
from smalt.agent.wire import Address, Phase, Probe, TaskState
from smalt.auth.certificates import gateway_context
from smalt.engines.remote import RemoteEngine
from smalt.engines.remote.serving import below, name_of
from smalt.node.forwarder import Forwarder, _terminate
from smalt.settings import Settings
from smalt.store import nodes

SERVER = """
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def address_string(self):
        return "unix"
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
Server(os.environ["SMALT_LISTEN"].removeprefix("unix:"), Handler).serve_forever()
"""
AT, MACHINE = "127.0.0.6", "host-1"


class _To(HTTPSConnection):
    """A connection to where an address leads, by its name."""

    def __init__(self, address: Address, context: ssl.SSLContext) -> None:
        super().__init__(address.name, timeout=ANSWER_S, context=context)
        self._to, self._context_used = (address.host, address.port), context

    def connect(self) -> None:
        self.sock = self._context_used.wrap_socket(socket.create_connection(self._to, 5), server_hostname=self.host)


def said(address: Address, context: ssl.SSLContext) -> str:
    connection = _To(address, context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.fixture
def site(remote: Any) -> Iterator[Any]:
    (remote.root / "server.py").write_text(SERVER)
    remote.dialled.join(MACHINE, AT, forwards=True)
    yield remote
    for name in remote.names:
        remote.engine.remove(name)


def serving(site: Any, name: str) -> TaskState:
    argv = [sys.executable, str(site.root / "server.py"), name]
    site.engine.ensure(site.task(name, MACHINE, argv=argv, grace_s=5, ready=Probe()))
    return site.changes.until(name, lambda state: state.ready)


def forwarder(site: Any) -> Forwarder:
    return site.dialled._joined[-1][0]._forwarder


def test_the_gateway_reaches_each_by_its_name_alone(site: Any) -> None:
    one, two = serving(site, "one"), serving(site, "two")
    context = gateway_context(site.dialled.authority)
    assert (one.address.host, two.address.host) == (AT, AT) and one.address.port == two.address.port
    assert one.address.name != two.address.name and one.address.name.endswith(below(MACHINE))
    assert (said(one.address, context), said(two.address, context)) == ("one", "two")
    stranger = Address(f"tls:{name_of(MACHINE, 'three')}@{AT}:{one.address.port}")
    with pytest.raises((ssl.SSLError, OSError)):
        said(stranger, context)


def test_nobody_else_is_let_in(site: Any, tmp_path: Path) -> None:
    address = serving(site, "one").address
    own = site.dialled.authority
    without = ssl.create_default_context(cafile=str(own.tls / "ca.pem"))
    as_server = ssl.create_default_context(cafile=str(own.tls / "ca.pem"))
    as_server.load_cert_chain(own.tls / "server.pem", own.tls / "server.key")
    as_node = ssl.create_default_context(cafile=str(own.tls / "ca.pem"))
    tls = site.dialled.settings(MACHINE).root / "tls"
    as_node.load_cert_chain(tls / "node.pem", tls / "node.key")
    for context in (without, as_server, as_node):
        with pytest.raises((ssl.SSLError, OSError)):
            said(address, context)
    with pytest.raises(OSError), socket.create_connection((address.host, address.port), 5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(5)
        if not plain.recv(100):
            raise ConnectionResetError
    assert said(address, gateway_context(own)) == "one"


def test_another_nodes_certificate_is_not_taken_for_this_ones(site: Any) -> None:
    address = serving(site, "one").address
    other = Address(f"tls:{name_of('host-2', 'one')}@{address.host}:{address.port}")
    with pytest.raises((ssl.SSLError, OSError)):
        said(other, gateway_context(site.dialled.authority))


def test_a_node_in_the_folder_of_another_answers_by_its_own_names(site: Any) -> None:
    serving(site, "one")
    site.engine.remove("one")
    site.dialled.until(lambda: site.engine.observe("one") is None)
    site.dialled.leave()
    with site.dialled.database.write() as connection:
        nodes.remove(connection, MACHINE)
    (site.dialled.root / MACHINE / "incarnation").unlink()
    site.dialled.join("host-2", AT, forwards=True, root=MACHINE)
    argv = [sys.executable, str(site.root / "server.py"), "two"]
    site.engine.ensure(site.task("two", "host-2", argv=argv, grace_s=5, ready=Probe()))
    address = site.changes.until("two", lambda state: state.ready).address
    assert said(address, gateway_context(site.dialled.authority)) == "two"


def test_one_that_is_not_reached_is_not_ready_until_it_is(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    walled, dial = threading.Event(), site.dialled.remote._ways._dial
    walled.set()

    def behind_a_wall(address: Address, timeout_s: float) -> Any:
        if walled.is_set():
            raise ConnectionRefusedError("Connection refused")
        return dial(address, timeout_s)

    monkeypatch.setattr(site.dialled.remote._ways, "_dial", behind_a_wall)
    argv = [sys.executable, str(site.root / "server.py"), "one"]
    site.engine.ensure(site.task("one", MACHINE, argv=argv, grace_s=5, ready=Probe()))
    state = site.changes.until("one", lambda state: bool(state.error))
    assert not state.ready and f"does not reach {AT}:" in state.error and "--port" in state.error
    walled.clear()
    state = site.changes.until("one", lambda state: state.ready)
    assert not state.error and said(state.address, gateway_context(site.dialled.authority)) == "one"


def test_it_goes_on_without_the_service_and_is_adopted_by_the_next(site: Any) -> None:
    address = serving(site, "one").address
    context, pid = gateway_context(site.dialled.authority), forwarder(site)._lives()
    site.dialled.leave()
    assert said(address, context) == "one"
    site.dialled.back(MACHINE, AT)
    assert site.changes.until("one", lambda state: state.ready).address == address
    assert forwarder(site)._lives() == pid and said(address, context) == "one"
    two = serving(site, "two").address
    assert said(two, context) == "two"


def test_one_that_is_killed_is_started_again_at_the_same_port(site: Any) -> None:
    address = serving(site, "one").address
    pid = forwarder(site)._lives()
    os.kill(pid, signal.SIGKILL)
    site.dialled.until(lambda: forwarder(site)._lives() not in (0, pid))
    assert site.changes.until("one", lambda state: state.ready).address == address
    site.dialled.until(lambda: _answers(address, gateway_context(site.dialled.authority)))


def _answers(address: Address, context: ssl.SSLContext) -> bool:
    try:
        return said(address, context) == "one"
    except OSError:
        return False


def test_a_port_is_open_only_while_there_are_replicas(site: Any) -> None:
    address, pid = serving(site, "one").address, forwarder(site)._lives()
    site.engine.stop("one", 5)
    assert site.changes.ended("one").phase is Phase.EXITED
    site.engine.remove("one")
    site.dialled.until(lambda: not forwarder(site)._lives())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port), 5)
    assert pid


def test_a_server_that_starts_again_finds_them(site: Any) -> None:
    address = serving(site, "one").address
    site.restart_server()
    assert said(address, gateway_context(site.dialled.authority)) == "one"
    site.dialled.until(lambda: site.dialled.machine(MACHINE).connected)
    assert site.engine.observe("one").address == address


def test_what_has_no_address_is_not_ready(remote: Any) -> None:
    (remote.root / "server.py").write_text(SERVER)
    argv = [sys.executable, str(remote.root / "server.py"), "one"]
    remote.engine.ensure(remote.task("one", argv=argv, grace_s=5, ready=Probe()))
    state = remote.changes.running("one")
    remote.dialled.until(lambda: "ready" in _own_state(remote))
    state = remote.engine.observe("one")
    assert not state.ready and not state.address


def _own_state(remote: Any) -> str:
    (file,) = remote.root.glob("*/tasks/one.*/state.json")
    return "ready" if TaskState.from_json(file.read_text()).ready else ""


def test_silence_is_counted_from_when_a_server_could_hear(remote: Any) -> None:
    assert remote.engine.silent_s(remote.dialled.node) == 0.0
    assert remote.engine.silent_s("nobody") == float("inf")
    remote.dialled.stop_node()
    remote.dialled.until(lambda: remote.engine.silent_s(remote.dialled.node) > 0.05)
    remote.restart_server()
    assert isinstance(remote.dialled.remote, RemoteEngine)
    assert remote.engine.silent_s(remote.dialled.node) < 5
    remote.dialled.start_node()
    remote.dialled.until(lambda: remote.engine.silent_s(remote.dialled.node) == 0.0)


@pytest.fixture(autouse=True)
def _no_forwarder_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    for lock in tmp_path.glob("*/forwarder/lock"):
        if pid := Forwarder(Settings(lock.parents[1]), "", None, lambda: "")._lives():  # pyright: ignore[reportArgumentType]
            _terminate(pid)
