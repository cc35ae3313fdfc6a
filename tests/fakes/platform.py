"""A platform in memory for tests of kinds: real SQLite and folder store; engine, builder, MLflow and Envoy are fakes.

The test decides what time it is and when a task or a build ends; nothing sleeps.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

import smalt.kinds
from fakes.databases import quick
from fakes.engine import FakeEngine
from fakes.ray import FakeRay
from fakes.tracking import FakeModels, FakeTracking
from smalt.agent.wire import Ref, TaskSpec
from smalt.arm.audit import Audit
from smalt.arm.crud import Crud
from smalt.arm.errors import forbidden, invalid
from smalt.arm.hub import Hub
from smalt.arm.kind import Kind
from smalt.arm.platform import Platform
from smalt.arm.ports import (
    BuiltEnvironment,
    Counted,
    EndpointRoute,
    EnvironmentPlan,
    EnvironmentSpec,
    Login,
    NotReady,
    Principal,
    Tracking,
)
from smalt.arm.reach import covers, narrowed
from smalt.arm.registry import Kinds
from smalt.arm.router import ArmApp
from smalt.arm.runs import JobRuns
from smalt.auth.access import ScopeGrants
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.gateway.routes import check
from smalt.reconcile.loop import Loop
from smalt.reconcile.pace import Pace
from smalt.settings import PLATFORM_ACCOUNT, RESOURCE_GROUP, SUBSCRIPTION, Settings
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.sealed import Secrets
from smalt.store.servers import Servers
from smalt.store.tables import change

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/bank"
OWNER = Principal(oid="owner", name="ada", kind="owner", tenant="t")


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1e-6  # no two writes at the same time
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeEnvironments:
    """Everything can be planned but what names `no-such-package`; built when the test puts a key into `ready`."""

    ready: set[str] = field(default_factory=set)
    build_at_once: bool = True
    locks: dict[str, dict[str, str]] = field(default_factory=dict)

    def plan(self, spec: EnvironmentSpec, serving: bool = False) -> EnvironmentPlan:
        if spec.build_context:
            raise invalid("A Docker build context needs a container engine.", "properties.build")
        text = spec.conda_file or spec.image or spec.curated
        key = f"{abs(hash((text, serving))):x}"
        if self.build_at_once:
            self.ready.add(key)
        variables = {"FROM_THE_ENVIRONMENT": "yes", "BOTH": "environment"} if "variables" in text else {}
        return EnvironmentPlan(key, {"text": text}, variables=variables)

    def built(self, key: str) -> BuiltEnvironment | None:
        return BuiltEnvironment(key) if key in self.ready else None

    def remove(self, key: str) -> None:
        self.ready.discard(key)

    def task(
        self, plan: EnvironmentPlan, owner: str, attempt: int, logins: Mapping[str, Login] | None = None
    ) -> TaskSpec:
        return TaskSpec(name=f"build-{plan.key[:16]}-a{attempt}", owner=owner, argv=["true"])

    def compiling(self, key: str, owner: str, attempt: int) -> TaskSpec:
        return TaskSpec(name=f"compile-{key[:16]}-a{attempt}", owner=owner, argv=["true"])

    def log(self, key: str) -> Ref:
        return Ref(PLATFORM_ACCOUNT, "environments", f"{key}.log")

    def lock(self, key: str) -> Mapping[str, str] | None:
        return self.locks.get(key)

    def failure(self, key: str) -> str:
        return "No version of 'no-such-package' can be had."

    def curated(self) -> Mapping[str, Mapping[str, Any]]:
        definition = {"version": "12", "image": "sklearn", "conda_file": "x"}
        return {"AzureML-sklearn-1.5-ubuntu22.04-py311-cpu": definition, "sklearn-1.5": definition}


@dataclass
class FakeGateway:
    applied: list[list[EndpointRoute]] = field(default_factory=list)
    lagging: bool = False
    counted: tuple[str, Counted] | None = None
    active: dict[tuple[str, str], int] = field(default_factory=dict)

    def apply(self, endpoints: Sequence[EndpointRoute]) -> str:
        check(endpoints)
        if not self.applied or self.applied[-1] != list(endpoints):
            self.applied.append(list(endpoints))
        return str(len(self.applied))

    def change(self, endpoints: Mapping[str, EndpointRoute | None]) -> str:
        if not self.applied:
            raise LookupError
        names = {name.lower() for name in endpoints}
        others = [one for one in self.applied[-1] if one.name.lower() not in names]
        return self.apply([*others, *(one for one in endpoints.values() if one is not None)])

    def in_force(self, version: str) -> bool:
        return not self.lagging

    def traffic(self) -> tuple[str, Counted]:
        if self.counted is None:
            raise NotReady("Envoy does not answer")
        return self.counted

    def in_flight(self) -> Mapping[tuple[str, str], int]:
        return self.active

    def route(self, name: str) -> EndpointRoute:
        return next(one for one in self.applied[-1] if one.name == name)


@dataclass
class FakeGrants:
    """`prefixes` are what everybody may see; None: everything."""

    prefixes: Sequence[str] | None = None

    def check(self, principal: Principal, action: str, resource_id: str) -> None:
        ScopeGrants().check(principal, action, resource_id)
        if self.prefixes is not None and not any(covers(one.lower(), resource_id.lower()) for one in self.prefixes):
            raise forbidden(f"{principal.name} may not do {action}")

    def reach(self, principal: Principal, action: str) -> Sequence[str] | None:
        return ScopeGrants().reach(principal, action) if principal.kind == "guest" else self.prefixes

    def partly(self, principal: Principal, action: str, scope: str) -> bool:
        if principal.kind == "guest":
            return ScopeGrants().partly(principal, action, scope)
        return bool(self.prefixes) and narrowed(self.prefixes, scope) != ()


class FakeTokens:
    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str:
        return f"token-of-{principal.name}-for-{audience}"

    def verify(self, token: str, audiences: Sequence[str]) -> Principal:
        return OWNER

    def mint(self, principal: Principal, lifetime_s: float, holder: str = "") -> str:
        return f"header-of-{principal.name}"


class _AtOnce:
    """Instead of `Threads`: a test sends one request after the other, and a thread takes longer than what it is for."""

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)


@cache
def _scanned() -> tuple[Kind, ...]:
    return tuple(Kinds.scan(smalt.kinds).values())


class _First:
    """The process's first platform, with its group and workspace: the next begin as copies of it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._now = 0.0

    def copied(self, settings: Settings, clock: Clock) -> bool:
        """Whether `settings` are those of the first but for the root; then the root is filled."""
        if settings != Settings(root=settings.root) or Path(settings.root, "smalt.db").exists():
            return False
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
            first = Harness(Path(self._folder.name), framed=False)
            first.frame()
            first.close()
            self._now = first.clock.now
        shutil.copytree(self._folder.name, settings.root, dirs_exist_ok=True)
        clock.now = self._now
        return True


_FIRST = _First()


class Harness:
    """`send` is one HTTP request to the ARM app; `settle` runs the control loop until nothing is due."""

    def __init__(
        self,
        root: Path,
        tracking: Tracking | None = None,
        framed: bool = True,
        kinds: Sequence[Kind] = (),
        **settings: Any,
    ) -> None:
        """`tracking` where a test needs MLflow's tables instead of the fake; `framed`: with a group and a workspace.

        `kinds` are known beside those of the package.
        """
        self.settings = Settings(root=root, **settings)
        self.clock = Clock()
        self._runner, self._thread = asyncio.Runner(), threading.get_ident()
        copied = framed and tracking is None and _FIRST.copied(self.settings, self.clock)
        self.database = Database(self.settings.database)
        quick(self.database)
        migrate(self.database)
        self.engine = FakeEngine()
        self.environments = FakeEnvironments()
        self.tracking = FakeTracking()
        self.models = FakeModels()
        self.gateway = FakeGateway()
        keyring = Keyring(self.settings)
        accounts = Accounts(self.database, keyring)
        self.blobs = BlobAccounts(accounts, FolderStore(root / "blobs"))
        self.grants = FakeGrants()
        self.ray = FakeRay()
        tokens, hub = FakeTokens(), Hub()
        self.database.follow(hub.told)
        self.platform = Platform(
            self.settings,
            self.database,
            self.clock,
            hub,
            self.engine,
            self.environments,
            self.blobs,
            tracking or self.tracking,
            self.models,
            self.gateway,
            tokens,
            tokens,
            Secrets(keyring),
            accounts.account_keys,
            self.grants,
            Audit(self.database, self.clock),
            Servers(self.database, self.clock),
            self.ray,
        )
        self.kinds = Kinds([*_scanned(), *kinds])
        self.crud = Crud(self.kinds)
        self.loop = self.new_loop()
        self.caller = OWNER  # whose the requests are
        self.app = ArmApp(self.platform, self.crud, lambda scope: self.caller, lambda *_: None)
        self.app._threads = _AtOnce()
        self.engine.watch(self._wake)
        if framed and not copied:
            self.frame()

    def new_loop(self, pace: Pace | None = None) -> Loop:
        return Loop(self.platform, self.kinds, self.crud.remove_stored, pace)

    def _wake(self, owner: str) -> None:
        self.loop.hint(owner)

    def frame(self) -> None:
        """The group and the workspace, unless the database was copied from one that has them (`fakes/framed.py`)."""
        with self.database.read() as connection:
            if resources.get(connection, WORKSPACE) is not None:
                self.clock.now = max(self.clock.now, *connection.execute(select(func.max(change.c.at))).scalars())
                return
        for key, kind in ((f"/subscriptions/{SUBSCRIPTION}", "subscriptions"), (GROUP, "resourcegroups")):
            with self.database.write() as connection:
                resources.insert(
                    connection,
                    key=key.lower(),
                    written=key,
                    kind=kind,
                    parent=key.lower().rpartition("/resourcegroups")[0],
                    name=key.rsplit("/", 1)[-1],
                    spec={"properties": {}},
                    status={},
                    state="Succeeded",
                    now=self.clock(),
                    by="test",
                )
        self.put(WORKSPACE, {"location": "local", "properties": {}})
        self.settle()

    def close(self) -> None:
        self._runner.close()
        self.database.close()

    def settle(self, most: int = 200) -> None:
        """Run what is due now; it must come to rest."""
        for _ in range(most):
            if not self.loop.run_due():
                return
        raise AssertionError("the control loop does not come to rest")

    def send(self, method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://localhost:7443") as client:
                content: dict[str, Any] = (
                    {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
                )
                names = {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.request(method, url, headers=names, **content)

        if threading.get_ident() != self._thread:
            return asyncio.run(call())
        if self._runner.get_loop().is_running():  # somebody comes between
            with ThreadPoolExecutor(1) as another:
                return another.submit(asyncio.run, call()).result()
        return self._runner.run(call())

    def get(self, url: str, **headers: str) -> httpx.Response:
        return self.send("GET", url, **headers)

    def put(self, url: str, body: Any, **headers: str) -> httpx.Response:
        return self.send("PUT", url, body, **headers)

    def heard(self, job: str, *metrics: str) -> None:
        """The edge has passed on what the job's run logged."""
        JobRuns(self.database, self.platform.tracking, self.clock).logged(WORKSPACE.lower(), job, set(metrics))

    def row(self, url: str) -> resources.Row:
        with self.database.read() as connection:
            row = resources.get(connection, url)
        assert row is not None, url
        return row
