"""The one port of a node: connections of the gateway, by mutual TLS, to the replicas that run here.

Envoy takes them: who shows a certificate of the platform's authority that is the gateway's is led to the socket of the
replica that it names (SNI); nobody else gets through the handshake. It runs while there are replicas, outlives this
service as they do, and is adopted by the next: its lock (`forwarder/lock`) holds its number for as long as it lives.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smalt.agent import linux
from smalt.agent.wire import NOWHERE, Address, Phase, TaskState
from smalt.auth.secret_files import private_folder
from smalt.engines.remote.serving import PORTS, name_of
from smalt.gateway.admin import Admin, NotAnswering
from smalt.gateway.bootstrap import command
from smalt.gateway.documents import Documents, content_hash
from smalt.node.certificate import NodeCertificate
from smalt.node.forwarding import bootstrap, clusters, listener, secret
from smalt.settings import Settings

_LOG = logging.getLogger(__name__)
_LOOK_S, _PAUSE_S = 0.05, 1.0
_RENEW_S = 6 * 3600.0  # how often the certificate is looked at
_PATIENCE_S = 5.0  # for Envoy to take the port that it was given


@dataclass(frozen=True)
class _At:
    host: str = ""
    port: int = 0


class Forwarder:
    """`see` what the node's tasks are, and it follows; `told(names)` from its thread when an address has changed.

    `address`: of this machine, as others find it now. `port`: the one to take; 0: the first that is free of `PORTS`.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        certificate: NodeCertificate,
        address: Callable[[], str],
        port: int = 0,
        told: Callable[[list[str]], None] = lambda names: None,
    ) -> None:
        self.told = told
        self._node, self._certificate, self._address, self._wanted_port = node, certificate, address, port
        self._folder = settings.root / "forwarder"
        self._socket = settings.run / "forwarder.sock"
        self._documents = Documents()
        self._replicas: dict[str, str] = {}  # by task, the path of its socket
        self._at, self._led = _At(), frozenset[str]()  # where Envoy listens, and the tasks that it leads to
        self._watched = 0  # whose end is waited for
        self._news = threading.Condition()
        self._dirty = self._stopping = False
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def see(self, task: str, state: TaskState | None) -> TaskState | None:
        """The state, with the address at which others reach the task: it is ready once they do."""
        path = state.address.path if state is not None and state.phase is not Phase.EXITED else ""
        with self._news:
            if self._replicas.get(task, "") != path:
                if path:
                    self._replicas[task] = path
                else:
                    del self._replicas[task]
                self._dirty = True
                self._news.notify_all()
            at = self._at if task in self._led else _At()
        if state is None or not state.address.path:
            return state
        address = Address(f"{at.host}:{at.port}") if at.port else NOWHERE
        return TaskState(**{**vars(state), "address": address, "ready": state.ready and bool(address)})

    def close(self, end: bool = False) -> None:
        """What is forwarded goes on without this service, where there is anything; not where all has to `end`."""
        with self._news:
            self._stopping = True
            idle = not self._replicas
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if (end or idle) and (pid := self._lives()):
            _terminate(pid)

    def _run(self) -> None:
        pause: float | None = None
        while True:
            with self._news:
                self._news.wait_for(lambda: self._dirty or self._stopping, pause)
                if self._stopping:
                    return
                self._dirty, replicas = False, dict(self._replicas)
            try:
                pause = self._follow(replicas)
            except Exception as error:  # the edge: no certificate, a full disk; what is there is served all the same
                _LOG.warning("replicas here cannot be reached yet: %s", error or type(error).__name__)
                pause = _PAUSE_S

    def _follow(self, replicas: dict[str, str]) -> float | None:
        """Bring Envoy to that; seconds until it is to be looked at again, None: at the next change."""
        if not replicas:
            self._say(_At(), replicas)
            if pid := self._lives():
                _terminate(pid)
            return None
        self._certificate.ensure()
        host = self._address()
        if not host:
            raise OSError("this machine has no address by which others find it (--address)")
        kept = self._kept_port(host)
        for port in [kept] if kept else self._ports():
            if self._lead(replicas, host, port):
                self._say(_At(host, port), replicas)
                self._watch()
                return _RENEW_S
        self._say(_At(), {})
        raise OSError(
            "none of its ports can be taken" if not self._wanted_port else f"port {self._wanted_port} is taken"
        )

    def _lead(self, replicas: dict[str, str], host: str, port: int) -> bool:
        """Whether Envoy takes connections there."""
        names = {name_of(self._node, task): path for task, path in replicas.items()}
        private_folder(self._folder)
        for name in ("lds", "cds", "sds"):
            private_folder(self._folder / name)
        secrets = secret(self._certificate.folder)
        self._documents.write_resources(self._file("sds"), content_hash(secrets), secrets)
        made = clusters(names)
        self._documents.write_resources(self._file("cds"), content_hash(made), made)
        bound = host if _free(host, 0) else "0.0.0.0"
        to = [listener(names, bound, port, self._file("sds"), self._certificate.authority)]
        if not self._lives() and not _free(bound, port):
            return False
        self._documents.write_resources(self._file("lds"), content_hash(to), to)
        if not self._lives():
            self._begin()
        return self._listens()

    def _listens(self) -> bool:
        admin, waited = Admin(self._socket), 0.0
        while waited < _PATIENCE_S and not self._stopping:
            with suppress(NotAnswering):
                if admin.listening():
                    return True
                if admin.refusals():
                    return False
            with self._news:
                self._news.wait_for(lambda: self._stopping, _LOOK_S)
            waited += _LOOK_S
        return False

    def _begin(self) -> None:
        configuration = self._folder / "bootstrap.json"
        desired = bootstrap(self._socket, self._file("lds"), self._file("cds"))
        if self._documents.read(configuration) != desired:
            self._documents.write(configuration, desired)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            with (self._folder / "envoy.log").open("wb") as log:
                process = subprocess.Popen(
                    command(configuration),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    start_new_session=True,
                    env={"PATH": os.defpath},
                )
            os.pwrite(lock, str(process.pid).encode(), 0)
        finally:
            os.close(lock)
        threading.Thread(target=process.wait, name="forwarder-reaped", daemon=True).start()

    def _watch(self) -> None:
        """Have the end of the Envoy that runs told, whoever started it."""
        pid = self._lives()
        if pid and pid != self._watched:
            self._watched = pid
            threading.Thread(target=self._wait_for, args=(pid,), name="forwarder-ends", daemon=True).start()

    def _wait_for(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            linux.readable(descriptor, None)
            os.close(descriptor)
        with self._news:
            self._watched = 0 if self._watched == pid else self._watched
            self._dirty = True
            self._news.notify_all()

    def _lives(self) -> int:
        """The number of the Envoy that runs here; 0: none does."""
        try:
            lock = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return 0
        except BlockingIOError:
            return int(os.pread(lock, 32, 0) or b"0") or self._answering()
        finally:
            os.close(lock)

    def _answering(self) -> int:
        """Who answers at its socket, where the service was killed before it could write that down."""
        with suppress(NotAnswering):
            return int(Admin(self._socket).process().partition(" ")[0])
        return 0

    def _kept_port(self, host: str) -> int:
        """The port that Envoy has, or had last while it still can be had: addresses do not change for nothing."""
        found = self._documents.read(self._file("lds")).get("resources", [])
        port = int(found[0]["address"]["socket_address"]["port_value"]) if found else 0
        if not port or (self._wanted_port and port != self._wanted_port):
            return 0
        return port if self._lives() or _free(host, port) else 0

    def _ports(self) -> list[int]:
        return [self._wanted_port] if self._wanted_port else list(PORTS)

    def _file(self, name: str) -> Path:
        return self._folder / name / f"{name}.json"

    def _say(self, at: _At, replicas: Mapping[str, str]) -> None:
        with self._news:
            before = dict.fromkeys(self._led, self._at)
            self._at, self._led = at, frozenset(replicas)
        after = dict.fromkeys(replicas, at)
        if changed := [one for one in {**before, **after} if before.get(one) != after.get(one)]:
            self.told(changed)


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _terminate(pid: int) -> None:
    """And wait for its end, for a moment."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            linux.readable(descriptor, _PATIENCE_S)
        finally:
            os.close(descriptor)
