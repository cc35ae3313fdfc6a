"""Two servers in memory on one PostgreSQL: requests go to one and the other in turn, and so do the steps.

Each has connections, a hub, a control loop, an engine, an environment builder and a gateway of its own.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from fakes.databases import quick
from fakes.engine import FakeEngine
from fakes.platform import FakeEnvironments, FakeGateway, Harness
from smalt.arm.audit import Audit
from smalt.arm.hub import Hub
from smalt.arm.kind import BULK, CLEANUP, CONTROL, SERVING
from smalt.arm.router import ArmApp
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.reconcile.loop import Loop
from smalt.store.database import Database
from smalt.store.sealed import Secrets
from smalt.store.servers import Servers, register

_ONE_OF_EACH = {SERVING: 1, CONTROL: 1, CLEANUP: 1, BULK: 1}


class BothEngines:
    """What tests ask of an engine, of the one that has the task; `starts`, `tasks` and `states` are of both."""

    def __init__(self, *engines: FakeEngine) -> None:
        self._engines = engines

    @property
    def tasks(self) -> dict[str, Any]:
        return {name: task for one in self._engines for name, task in one.tasks.items()}

    @property
    def states(self) -> dict[str, Any]:
        return {name: state for one in self._engines for name, state in one.states.items()}

    @property
    def starts(self) -> list[str]:
        return [name for one in self._engines for name in one.starts]

    def fit(self, **capacity: Any) -> None:
        for one in self._engines:
            one.fit(**capacity)

    def capacity(self, node: str = "") -> Any:
        return self._engines[0].capacity(node)

    def __getattr__(self, name: str) -> Any:
        def of_the_right_one(task: str, *more: Any, **named: Any) -> Any:
            having = next(one for one in self._engines if task in one.states)
            return getattr(having, name)(task, *more, **named)

        return of_the_right_one


class TwoServers(Harness):
    """Where a test asks for one platform, it gets `first`; `second` is the other."""

    def __init__(self, root: Path, database_url: str) -> None:
        super().__init__(root, framed=False, database_url=database_url)
        first = replace(self.platform, servers=Servers(self.database, self.clock, "first", "https://first:1"))
        database, hub = Database(database_url), Hub()
        quick(database)
        database.follow(hub.told)
        keyring = Keyring(self.settings)
        accounts = Accounts(database, keyring)
        self._second_database = database
        second = replace(
            first,
            database=database,
            hub=hub,
            engine=FakeEngine(),
            environments=FakeEnvironments(self.environments.ready),
            gateway=FakeGateway(),
            blobs=BlobAccounts(accounts, FolderStore(root / "blobs")),
            secrets=Secrets(keyring),
            account_keys=accounts.account_keys,
            audit=Audit(database, self.clock),
            servers=Servers(database, self.clock, "second", "https://second:2"),
        )
        self.platforms = first, second
        self.platform, engines = first, (self.engine, second.engine)
        for one in self.platforms:
            with one.database.write() as connection:
                register(connection, one.servers.me, one.servers.url, self.kinds.reconciled(), self.clock())
        self.beat()
        self.loops = [Loop(one, self.kinds, self.crud.remove_stored) for one in self.platforms]
        self.loop = self.loops[0]
        self.apps = [ArmApp(one, self.crud, lambda scope: self.caller, lambda *_: None) for one in self.platforms]
        for app in self.apps:
            app._threads = self.app._threads
        self._turns = cycle(self.apps)
        for one, loop in zip(self.platforms, self.loops, strict=True):
            one.engine.watch(loop.hint)
        self.engine = BothEngines(*engines)  # type: ignore[assignment,arg-type]
        self.frame()

    def beat(self) -> None:
        for one in self.platforms:
            one.servers.beat()

    def send(self, method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
        self.app = next(self._turns)
        return super().send(method, url, body, **headers)

    def settle(self, most: int = 2000) -> None:
        """A step here, a step there, until neither has anything to do."""
        idle = 0
        for turn in range(most):
            loop = self.loops[turn % 2]
            rows = loop.claim(_ONE_OF_EACH)
            for row in rows:
                loop.step(row)
            idle = 0 if rows else idle + 1
            if idle == 2:
                return
        raise AssertionError("the control loops do not come to rest")

    def close(self) -> None:
        self._second_database.close()
        super().close()
