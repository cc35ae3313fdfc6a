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
from functools import cache
from pathlib import Path

import uvicorn
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import smalt.kinds
from smalt.arm.crud import Crud
from smalt.arm.errors import ArmError
from smalt.arm.hub import Hub
from smalt.arm.ids import NotAnId, ResourceId, workspace_id
from smalt.arm.models import ModelRows, show_to_mlflow
from smalt.arm.outage import outage
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.registry import Kinds
from smalt.arm.router import ArmApp, error_response
from smalt.arm.runs import JobRuns
from smalt.auth.access import ScopeGrants
from smalt.auth.authentication import authenticate
from smalt.auth.certificates import keep_renewed
from smalt.auth.identities import Identities
from smalt.auth.keyring import Keyring
from smalt.auth.login import Login
from smalt.auth.private_files import PrivateFiles
from smalt.auth.rotation import settle
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService, arm_audiences, ml_audiences
from smalt.blob.account_listing import AccountListing
from smalt.blob.accounts import Accounts, BlobAccounts
from smalt.blob.folder import FolderStore
from smalt.blob.names import Target, is_blob_request
from smalt.blob.server import BlobApp
from smalt.blob.service import BlobService
from smalt.config import read_settings
from smalt.engines.local import LocalEngine
from smalt.environments import UvEnvironments
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.kinds import job_runs
from smalt.principals import LivingHeaders, RecentPermits, Workspaces
from smalt.reconcile.loop import Loop
from smalt.reserve import Reserve
from smalt.server_socket import BACKLOG, PeerProtocol, listen
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
ARM_PATHS = ("/subscriptions", "/providers", "/tenants")
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
    permits = RecentPermits(workspaces.permits)
    hub.follow(permits.ended)
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
        ScopeGrants(),
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
        blobs=AccountListing(BlobApp(service, tokens, permits)),
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
            exception_handlers={
                404: _unknown_path,
                405: _unknown_path,
                ClientDisconnect: _incomplete,
                OperationalError: _away,
            },
        ),
        make_room=Reserve(settings.root).make_room,
    )
    return Server(dispatcher, loop, platform, engine)


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
            return
        send = _without_guesses(send)
        if scope["path"].lower().startswith(ARM_PATHS):
            await self.arm(scope, receive, send)
        elif TrackingApp.handles(scope["path"]):
            await self.tracking(scope, receive, send)
        elif HistoryApp.handles(scope["path"]):
            await self.history(scope, receive, send)
        elif DatastoreApp.handles(scope["path"]):
            await self.datastores(scope, receive, send)
        else:
            await self.open_routes(scope, receive, send)


def _without_guesses(send: Send) -> Send:
    """Adds what keeps a browser from taking an answer for something else than it says it is."""
    guard = (b"x-content-type-options", b"nosniff")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and guard not in message["headers"]:
            message = {**message, "headers": [*message["headers"], guard]}
        await send(message)

    return sending


async def _incomplete(_: HttpRequest, __: Exception) -> Response:
    return error_response(ArmError(400, "RequestIncomplete", "The connection ended before the body did."))


async def _away(_: HttpRequest, error: Exception) -> Response:
    known = outage(error)
    if known is None:
        raise error
    return error_response(known)


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
    known = await run_in_threadpool(_tested)
    if version not in known:
        versions = ", ".join(sorted(known))
        return PlainTextResponse(f"No constraints for '{version[:40]}'; tested versions: {versions}\n", status_code=404)
    return PlainTextResponse(known[version])


@cache
def _tested() -> dict[str, str]:
    return {path.stem.removeprefix("constraints-"): path.read_text() for path in CONSTRAINTS.glob("constraints-*.txt")}


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
    config = uvicorn.Config(
        server.app, loop="uvloop", http=PeerProtocol, ws="none", lifespan="off",
        access_log=False, log_config=None, timeout_graceful_shutdown=5, server_header=False, backlog=BACKLOG,
        timeout_keep_alive=60,
    )  # fmt: skip
    os.umask(0o077)
    asyncio.run(uvicorn.Server(config).serve([listen(settings.server_socket)]))
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
