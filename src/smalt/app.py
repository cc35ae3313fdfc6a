"""The server: wires the parts into one ASGI app on a unix socket, and runs the control loop beside it.

    python -m smalt.app --root ROOT

Which part answers is decided by the path alone (`Dispatcher`); each checks its own tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import smalt.kinds
from smalt.arm.crud import Crud
from smalt.arm.errors import ArmError, unauthorized
from smalt.arm.hub import Hub
from smalt.arm.ids import ML, NotAnId, ResourceId, workspace_id
from smalt.arm.models import ModelRows, show_to_mlflow
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.registry import Kinds
from smalt.arm.router import ArmApp, error_response
from smalt.arm.runs import JobRuns
from smalt.auth.access import authorize
from smalt.auth.authentication import authenticate
from smalt.auth.certificates import keep_renewed
from smalt.auth.identities import Identities
from smalt.auth.identity_headers import HeaderGrant, IdentityHeaders
from smalt.auth.keyring import Keyring
from smalt.auth.living import LivingIdentities
from smalt.auth.login import Login
from smalt.auth.private_files import PrivateFiles
from smalt.auth.rotation import settle
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService, arm_audiences, ml_audiences
from smalt.blob.account_listing import AccountListing
from smalt.blob.accounts import Accounts, BlobAccounts
from smalt.blob.folder import FolderStore
from smalt.blob.http import BlobProtocol
from smalt.blob.names import Target, is_blob_request
from smalt.blob.server import BlobApp
from smalt.blob.service import BlobService
from smalt.config import read_settings
from smalt.engines.local import LocalEngine
from smalt.environments import UvEnvironments
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.kinds import job_runs, replicas
from smalt.kinds.jobs.launch import job_oid
from smalt.kinds.jobs.model import TERMINAL
from smalt.reconcile.loop import Loop
from smalt.reserve import Reserve
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Settings, SettingsError
from smalt.store import resources
from smalt.store.database import Database
from smalt.store.migrate import migrate
from smalt.store.sealed import Secrets
from smalt.tracking.datastores import DatastoreApp
from smalt.tracking.edge import TrackingApp
from smalt.tracking.history import HistoryApp
from smalt.tracking.registered_models import RegisteredModels
from smalt.tracking.runs import MlflowTracking

log = logging.getLogger("smalt")
RESERVE_EVERY_S = 60.0
CONSTRAINTS = Path(__file__).parent / "cli" / "quickstart"


@dataclass(frozen=True)
class Server:
    app: ASGIApp
    loop: Loop
    platform: Platform
    engine: LocalEngine


def build(settings: Settings) -> Server:
    """All parts, wired. The database is brought to this version's schema first."""
    database = Database(settings.database)
    migrate(database)
    clock = time.time
    tokens = TokenService(settings)
    sessions = Sessions(settings, database)
    workspaces = Workspaces(database)
    headers = LivingHeaders(settings, workspaces.lives)
    identities = Identities(settings, database)
    store = FolderStore(settings.blobs, hides=PrivateFiles(settings).hides)
    keyring = Keyring(settings)
    settle(database, keyring)
    accounts = Accounts(database, keyring)
    blobs = BlobAccounts(accounts, store)
    tracking = MlflowTracking(settings, workspaces.account)
    engine = LocalEngine(settings)
    gateway = EnvoyGateway(settings, tokens)
    hub = Hub()
    platform = Platform(
        settings,
        database,
        clock,
        hub,
        engine,
        UvEnvironments(settings),
        blobs,
        tracking,
        RegisteredModels(tracking),
        gateway,
        tokens,
        headers,
        Secrets(keyring),
        accounts.account_keys,
    )
    kinds = Kinds.scan(smalt.kinds)
    crud = Crud(kinds)
    bootstrap(platform)
    loop = Loop(platform, kinds, crud.remove_stored)

    engine.watch(loop.hint)

    def who(scope: Scope) -> Principal:
        return authenticate(scope, tokens, (*arm_audiences(settings), *ml_audiences()), sessions)

    tracking_app = TrackingApp(
        settings, tracking, tokens, blobs,
        audiences=(*arm_audiences(settings), *ml_audiences()),
        exists=workspaces.exists, authorize=workspaces.authorize, models=ModelRows(database, hub, clock),
        jobs=JobRuns(database, tracking, clock), session=sessions.read,
    )  # fmt: skip
    pages = Pages(sessions, tracking)
    service = BlobService(accounts, store, store.staging)
    dispatcher = Dispatcher(
        blobs=AccountListing(BlobApp(service, tokens, workspaces.permits)),
        tracking=tracking_app,
        history=HistoryApp(platform, who, workspaces.authorize),
        datastores=DatastoreApp(
            platform,
            who,
            workspaces.authorize,
            lambda one, account, verb: workspaces.permits(one, Target(account), verb),
        ),
        arm=ArmApp(platform, crud, who, workspaces.authorize),
        open_routes=Starlette(
            routes=[
                *Login(settings, tokens, identities, headers, sessions).routes(),
                Route("/healthz", _health, methods=["GET"]),
                Route("/constraints/{name}", _constraints, methods=["GET"]),
                Route("/", pages.home, methods=["GET"]),
                Route("/jobs/{name}", pages.job, methods=["GET"]),
            ],
            exception_handlers={404: _unknown_path, 405: _unknown_path},
        ),
        make_room=Reserve(settings.root).make_room,
    )
    return Server(dispatcher, loop, platform, engine)


class Workspaces:
    """Questions of other parts about workspaces, answered from the database."""

    def __init__(self, database: Database, identities: LivingIdentities | None = None) -> None:
        self._database = database
        self._identities = identities or LivingIdentities(database)

    def exists(self, workspace: str) -> bool:
        with self._database.read() as connection:
            row = resources.get(connection, workspace)
        return row is not None and not row.deleting

    def account(self, workspace: str) -> str:
        with self._database.read() as connection:
            row = resources.get(connection, workspace)
        return str(row.status.get("account", "")) if row else ""

    def authorize(self, principal: Principal, action: str, scope: str) -> None:
        """As `auth.access.authorize`; and the token of what has ended, or was deleted, opens nothing."""
        if not self.lives(principal):
            raise unauthorized(
                f"The token belongs to {principal.name}, which has ended or was deleted.", "ExpiredAuthenticationToken"
            )
        authorize(principal, action, scope)

    def lives(self, principal: Principal) -> bool:
        """Whether there still is who `principal` stands for: the very job, running; the deployment; the identity's row."""
        if principal.kind in ("servicePrincipal", "managedIdentity"):
            return self._identities.lives(principal.oid)
        if principal.kind not in ("job", "endpoint") or not principal.scope:
            return True
        job = ResourceId.parse(principal.scope).workspace.child("jobs", principal.name.removeprefix("job:"))
        with self._database.read() as connection:
            if principal.kind == "endpoint":
                return replicas.deployment_of(connection, principal) is not None
            row = resources.get(connection, job.key)
        return row is not None and row.state not in TERMINAL and job_oid(row) == principal.oid

    def permits(self, principal: Principal, target: Target, method: str) -> bool:
        """Bearer tokens on blobs: what is in a scope may use the account of its workspace, and no other."""
        scope, verb = f"/storageaccounts/{target.account}", "read" if method in ("GET", "HEAD") else "write"
        if principal.scope:
            workspace = ResourceId.parse(principal.scope).workspace.key
            if self.account(workspace) != target.account:
                return False
            scope = workspace
        try:
            self.authorize(principal, f"{ML}/workspaces/datastores/{verb}", scope)
        except ArmError:
            return False
        return True


class LivingHeaders(IdentityHeaders):
    """The header of a job or replica that has ended gives no tokens any more, whatever they would be for."""

    def __init__(self, settings: Settings, lives: Callable[[Principal], bool]) -> None:
        super().__init__(settings)
        self._lives = lives

    def read(self, header: str) -> HeaderGrant | None:
        grant = super().read(header)
        return grant if grant is not None and self._lives(grant.principal) else None


def bootstrap(platform: Platform) -> None:
    """The default subscription, resource group and workspace, where they are missing."""
    now = platform.clock()
    subscription = ResourceId(SUBSCRIPTION)
    group = ResourceId(SUBSCRIPTION, RESOURCE_GROUP)
    home = workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
    with platform.database.write() as connection:
        for id_, parent, spec in (
            (subscription, "", {"properties": {"displayName": "Smalt"}}),
            (group, subscription.key, {"location": "local", "properties": {}}),
            (home, group.key, {"location": "local", "properties": {"friendlyName": WORKSPACE}}),
        ):
            if resources.get(connection, id_.key) is None:
                due = now if id_ is home else None
                resources.insert(
                    connection, key=id_.key, written=str(id_), kind=id_.kind, parent=parent, name=id_.name, spec=spec,
                    status={"top": {"subscriptionId": SUBSCRIPTION, "displayName": "Smalt"}} if not parent else {},
                    state="Succeeded", now=now, by="smalt", due_at=due,
                )  # fmt: skip
        resources.poke(connection, resources.keys_of_kind(connection, "workspaces"), now)  # new curated environments
        show_to_mlflow(connection, now)
        job_runs.watch(connection, now)


@dataclass(frozen=True)
class Dispatcher:
    """The first look at a request: whose is it?"""

    blobs: ASGIApp
    tracking: ASGIApp
    history: ASGIApp
    datastores: ASGIApp
    arm: ASGIApp
    open_routes: ASGIApp
    make_room: Callable[[], object] = lambda: None  # SQLite writes before it deletes, also on a full disk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.open_routes(scope, receive, send)
            return
        if scope["method"] == "DELETE":
            self.make_room()
        if is_blob_request(scope):
            await self.blobs(scope, receive, send)
        elif scope["path"].lower().startswith("/subscriptions"):
            await self.arm(scope, receive, send)
        elif TrackingApp.handles(scope["path"]):
            await self.tracking(scope, receive, send)
        elif HistoryApp.handles(scope["path"]):
            await self.history(scope, receive, send)
        elif DatastoreApp.handles(scope["path"]):
            await self.datastores(scope, receive, send)
        else:
            await self.open_routes(scope, receive, send)


async def _health(_: HttpRequest) -> Response:
    return JSONResponse({"status": "ok"})


async def _unknown_path(http: HttpRequest, _: Exception) -> Response:
    message = f"{http.method} {http.url.path[:200]} is not a route of this server."
    if http.url.path.lower().startswith("/registrymanagement/"):  # where clients ask for a registry's address
        message = (
            "Registries cannot be reached or made on this version of the server yet. Environments of the registry"
            " 'azureml' are shipped: name them azureml://registries/azureml/environments/NAME/labels/latest."
        )
    return error_response(ArmError(404, "NotFound", message, target="path"))


async def _constraints(http: HttpRequest) -> Response:
    """pip constraints with which a client version is known to work: /constraints/azure-ai-ml-1.35.2.txt"""
    version = http.path_params["name"].removeprefix("azure-ai-ml-").removesuffix(".txt")
    known = {path.stem.removeprefix("constraints-"): path for path in CONSTRAINTS.glob("constraints-*.txt")}
    if version not in known:
        versions = ", ".join(sorted(known))
        return PlainTextResponse(f"No constraints for '{version[:40]}'; tested versions: {versions}\n", status_code=404)
    return PlainTextResponse(known[version].read_text())


def _tracking_page(workspace: ResourceId) -> str:
    return f"/mlflow/v1.0{workspace}/"


@dataclass(frozen=True)
class Pages:
    """What a browser with a session opens, until there is a Studio: MLflow's own pages."""

    sessions: Sessions
    tracking: MlflowTracking

    async def home(self, http: HttpRequest) -> Response:
        if not self._known(http):
            return _LOGIN_FIRST
        return RedirectResponse(_tracking_page(workspace_id(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)), 303)

    async def job(self, http: HttpRequest) -> Response:
        """`/jobs/{name}?wsid={workspace}`: the link that clients print beside a job's name."""
        if not self._known(http):
            return _LOGIN_FIRST
        try:
            workspace = ResourceId.parse(http.query_params.get("wsid", "")).workspace
        except NotAnId:
            return PlainTextResponse("The link's wsid is not the id of a workspace.\n", status_code=400)
        name = http.path_params["name"]
        run = await run_in_threadpool(self.tracking.run, workspace.key, name)
        if run is None:
            return PlainTextResponse(f"Workspace {workspace.name} has no run {name} yet.\n", status_code=404)
        page = f"{_tracking_page(workspace)}#/experiments/{run.experiment_id}/runs/{run.run_id}"
        return RedirectResponse(page, 303)

    def _known(self, http: HttpRequest) -> bool:
        return self.sessions.read("GET", http.scope["headers"]) is not None


_LOGIN_FIRST = PlainTextResponse("Open the login link that `smalt up` prints.\n", status_code=401)


def serve(settings: Settings) -> None:
    """Until a signal comes: requests on the unix socket, the loop in a thread of its own."""
    reserve = Reserve(settings.root)
    if reserve.make_room():
        log.warning("the disk is full: the reserve was given up")
    server = build(settings)
    server.loop.resume()
    thread = threading.Thread(target=server.loop.run, name="loop", daemon=True)
    thread.start()
    stopped = threading.Event()
    threading.Thread(target=keep_reserve, args=(reserve, stopped), name="reserve", daemon=True).start()
    threading.Thread(target=keep_renewed, args=(settings, stopped), name="certificates", daemon=True).start()
    settings.server_socket.unlink(missing_ok=True)
    config = uvicorn.Config(
        server.app, uds=str(settings.server_socket), loop="uvloop", http=BlobProtocol, ws="none", lifespan="off",
        access_log=False, log_config=None, timeout_graceful_shutdown=5, server_header=False, backlog=2048, timeout_keep_alive=60,
    )  # fmt: skip
    os.umask(0o077)
    asyncio.run(uvicorn.Server(config).serve())
    stopped.set()
    server.loop.stop()
    thread.join(timeout=10)


def keep_reserve(reserve: Reserve, stopped: threading.Event) -> None:
    """Made where it is missing and there is space for it."""
    while True:
        with contextlib.suppress(OSError):
            reserve.restore()
        if stopped.wait(RESERVE_EVERY_S):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="The Smalt server; `smalt up` starts it.")
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = read_settings(arguments.root)
    except SettingsError as error:
        sys.exit(f"smalt: {error}")
    serve(settings)


if __name__ == "__main__":
    main()
