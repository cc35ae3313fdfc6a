"""A server's side of nodes, and node services that dial in to it over loopback: real engines, HTTP, SQLite. No TLS.

dialled.start()            the server, and a node service with a root of its own
dialled.cut()              the line breaks; the node dials again
dialled.stop_server()      nobody answers; start_server(): another server on the same database and port
dialled.join(name, at)     another machine, which others find at this address; until the end
dialled.stop_node()        the node service ends, what it runs goes on; start_node(root): another on a root
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from live.patience import PATIENCE_S
from live.ports import free_port
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import Head
from smalt.auth.certificates import dial, ensure_certificates, sign
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.operations.service import BlobService
from smalt.blob.store.folder import FolderStore
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.remote import RemoteEngine
from smalt.engines.remote.loopback import loopback_id
from smalt.engines.routing import Engines
from smalt.environments import UvEnvironments
from smalt.kinds.assets.environment_pack import Packs
from smalt.node.certificate import NodeCertificate
from smalt.node.forwarder import Forwarder
from smalt.node.host import _signed
from smalt.node.service import NodeRevoked, NodeService
from smalt.settings import Settings
from smalt.store import nodes
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.web.nodes import NodesApp

COMPUTE = "/computes/far"
HEARTBEAT_S = 0.5


class Dialled:
    def __init__(self, root: Path, finder: Finder, node: str = "far-1") -> None:
        self.root, self.node, self.finder = root, node, finder
        self.database = Database(f"sqlite:///{root / 'server.db'}")
        migrate(self.database)
        with self.database.write() as connection:
            _, self.token = nodes.add(connection, node, COMPUTE, {}, time.time())
        self.port = free_port()
        accounts = Accounts(self.database, Keyring(Settings(root / "keys")))
        store = FolderStore(root / "blobs")
        self.blobs = BlobService(accounts, store, store.staging)
        self.own = StoreFiles(store, store.staging)
        self.packs = Packs(self.database, time.time, self.own)
        self.authority = Settings(root / "authority")
        self.told: list[str] = []
        self.revoked = threading.Event()
        self._watchers: list[Callable[[str], None]] = []
        self._joined: list[tuple[NodeService, threading.Thread]] = []

    # the server

    def start(self) -> None:
        self.start_server()
        self.start_node()
        self.until_connected()

    def start_server(self) -> None:
        dialled = partial(dial, self.authority)
        self.remote = RemoteEngine(self.database, time.time, 300, dial=dialled)
        self.engine = Engines(LocalEngine(Settings(self.root / "own"), self.finder, nursery=False), self.remote)
        config = uvicorn.Config(
            NodesApp(self.remote, lambda: self.blobs, self.own, partial(sign, self.authority), self.packs, HEARTBEAT_S),
            port=self.port,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._serving = threading.Thread(target=self._server.run, daemon=True)
        self._serving.start()
        self.until(lambda: self._server.started)

    def watch(self) -> None:
        """Where no test's harness does it."""
        self.engine.watch(self.told.append)

    def stop_server(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._serving.join(PATIENCE_S)
        self.remote.close()
        self.engine.local.close()

    def cut(self) -> None:
        """As a network does it: neither side has asked for it."""
        with self.remote._lock:
            session = self.remote._sessions[self.node]
        session.close()
        self.until(lambda: self.remote._sessions.get(self.node) not in (None, session))

    # the node

    def settings(self, root: str) -> Settings:
        return Settings(self.root / root)

    def start_node(self, root: str = "s", token: str = "") -> None:
        self.service = self._made(root, token or self.token)
        self._node = threading.Thread(target=self._run, daemon=True)
        self._node.start()

    def join(self, name: str, at: str, forwards: bool = False, root: str = "") -> None:
        """`forwards`: the gateway comes to its replicas. `root`: the machine's folder, where another had it before."""
        with self.database.write() as connection:
            _, token = nodes.add(connection, name, COMPUTE, {}, time.time())
        service = self._made(root or name, token, at, name if forwards else "")
        running = threading.Thread(target=service.run, daemon=True)
        running.start()
        self._joined.append((service, running))
        self.until(lambda: self.machine(name).connected)

    def leave(self) -> None:
        """The service of the machine that came last ends, what it runs goes on."""
        service, running = self._joined.pop()
        service.stop()
        running.join(PATIENCE_S)

    def back(self, name: str, at: str) -> None:
        """Such a machine's service again, with another token."""
        with self.database.write() as connection:
            nodes.note(connection, name, token_hash=nodes._hash(f"{name}'s"))
        service = self._made(name, f"{name}'s", at, name)
        running = threading.Thread(target=service.run, daemon=True)
        running.start()
        self._joined.append((service, running))
        self.until(lambda: self.machine(name).connected)

    def _made(self, root: str, token: str, address: str = "", forwards: str = "") -> NodeService:
        settings = self.settings(root)
        settings.root.mkdir(parents=True, exist_ok=True)
        incarnation = settings.root / "incarnation"
        if not incarnation.exists():
            write_whole(incarnation, f"incarnation-{root}")
        environments = UvEnvironments(settings)
        engine = LocalEngine(settings, replace(self.finder, environment=environments.prefix))
        about = {"incarnation": incarnation.read_text(), "version": "1", "cpus": 2, "memory_bytes": 1 << 33, "gpus": 0}
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {token}"})
        about |= {"isolation": "walls", "loopback": loopback_id()}
        forwarder = None
        if forwards:
            ca = ensure_certificates(self.authority).ca.read_text()
            certificate = NodeCertificate(settings.root / "tls", forwards, ca, partial(_signed, client))
            forwarder = Forwarder(settings, forwards, certificate, lambda: address)
        return NodeService(settings, engine, environments, client, about, HEARTBEAT_S, lambda: address, forwarder)

    def _run(self) -> None:
        try:
            self.service.run()
        except NodeRevoked:
            self.revoked.set()

    def stop_node(self) -> None:
        self.service.stop()
        self._node.join(PATIENCE_S)
        assert not self._node.is_alive()

    def end(self) -> None:
        for service, running in self._joined:
            service.stop()
            running.join(PATIENCE_S)
        self.stop_node()
        self.stop_server()
        for root in self.root.iterdir():
            if (root / "tasks").is_dir():
                engine = LocalEngine(Settings(root), nursery=False)
                for task in (root / "tasks").glob("[!.]*/task.json"):
                    engine.remove(Head.from_json(task.read_text()).name)
        self.blobs.close()
        self.database.close()

    # waiting

    def machine(self, name: str = "") -> Any:
        with self.database.read() as connection:
            return nodes.get(connection, name or self.node)

    def until_connected(self) -> None:
        self.until(lambda: self.machine().connected)

    def until(self, true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)


def begun(harness: Any, name: str) -> None:
    harness.engine.ensure(harness.task(name))
    harness.changes.running(name)
    harness.dialled.until(lambda: harness.started() == 1)
