"""The server's parts, wired into one ASGI app; `serve.py` runs them.

Which part answers is decided by the path alone (`web/dispatcher.py`); each checks its own tokens.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from functools import partial

from starlette.types import ASGIApp, Scope

import smalt.kinds
from smalt.arm.audit import Audit
from smalt.arm.crud import Crud
from smalt.arm.event_stream import Streams
from smalt.arm.hub import Hub
from smalt.arm.models import ModelRows
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.registry import Kinds
from smalt.arm.router import ArmApp
from smalt.arm.runs import JobRuns
from smalt.auth.access import ScopeGrants
from smalt.auth.authentication import authenticate
from smalt.auth.certificates import dial, sign
from smalt.auth.identities import Identities
from smalt.auth.keyring import Keyring
from smalt.auth.login import Login
from smalt.auth.private_files import PrivateFiles
from smalt.auth.rotation import settle
from smalt.auth.secret_files import keep_secret
from smalt.auth.service_access import ServiceAccess
from smalt.auth.sessions import Sessions
from smalt.auth.shared_links import SharedLinks
from smalt.auth.tokens import TokenService, arm_audiences, ml_audiences
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.accounts.carrying import StoreFiles
from smalt.blob.names import Target
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.account_listing import AccountListing
from smalt.blob.protocol.refusals import Refusals
from smalt.blob.server import BlobApp
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import ObjectStore
from smalt.blob.store.opening import open_store
from smalt.blob.store.staging import Staging
from smalt.bootstrap import bootstrap
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.ray import RayProvider
from smalt.engines.remote import RemoteEngine
from smalt.engines.routing import Engines
from smalt.environments import UvEnvironments
from smalt.gateway.crowds import Crowds
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.kinds.assets.environment_pack import Packs
from smalt.kinds.insights.watch import Watch
from smalt.kinds.serving.place import withdraw
from smalt.kinds.serving.scaler import Scaler
from smalt.metrics.collector import Collector
from smalt.metrics.names import FEED, STEP, WRITE
from smalt.metrics.recorder import Recorder
from smalt.openlineage.delivery import Delivery
from smalt.openlineage.targets import KEY, target
from smalt.principals import LivingHeaders, RecentPermits, Workspaces
from smalt.reconcile.loop import Loop
from smalt.reconcile.orphans import Orphans
from smalt.reserve import Reserve
from smalt.sched.sizes import capacity_of
from smalt.settings import Settings
from smalt.store import feed
from smalt.store.clock import SharedClock
from smalt.store.database import Database
from smalt.store.listener import Listener
from smalt.store.migrate import migrate
from smalt.store.nodes import NODES
from smalt.store.sealed import Secrets
from smalt.store.servers import Servers, register
from smalt.studio.app import VENDORED, StudioApp
from smalt.tracking.dataplane.datastores import DatastoreApp
from smalt.tracking.dataplane.history import HistoryApp
from smalt.tracking.edge.app import TrackingApp
from smalt.tracking.models.registered_models import RegisteredModels
from smalt.tracking.runs.runs import MlflowTracking
from smalt.tracking.store.readings import RunReadings
from smalt.web.asleep import AsleepApp
from smalt.web.dispatcher import Dispatcher
from smalt.web.metrics_page import MetricsPage
from smalt.web.nodes import NodesApp
from smalt.web.open_routes import open_routes
from smalt.web.pages import Pages
from smalt.web.registries import RegistryApp
from smalt.web.service_pages import ServicePages
from smalt.web.services import ServiceDoors, ServiceGate
from smalt.web.ssh_door import SshDoor
from smalt.web.terminals import TerminalPage
from smalt.web.visits import VisitApp


@dataclass(frozen=True)
class Server:
    app: ASGIApp
    loop: Loop
    platform: Platform
    engine: Engines
    remote: RemoteEngine
    orphans: Orphans
    crud: Crud
    listener: Listener
    collector: Collector
    services: ServiceGate
    delivery: Delivery | None
    scaler: Scaler
    asleep: AsleepApp
    watch: Watch
    crowds: Crowds


def build(settings: Settings) -> Server:
    """All parts, wired. The database is brought to this version's schema first."""
    recorder = Recorder()
    database = Database(settings.database, lambda seconds: recorder.record("", WRITE.name, seconds, spread=True))
    migrate(database)
    clock = time.time if database.sqlite else SharedClock(database)
    with database.write() as connection:
        feed.restored(connection)
    servers = Servers(database, clock, "" if database.sqlite else _id_of(settings), settings.url, settings.node_lost_s)
    tokens = TokenService(settings, others=lambda: servers.others.values())
    sessions = Sessions(settings, database)
    grants = ScopeGrants()
    workspaces = Workspaces(database, grants, clock=clock)
    headers = LivingHeaders(settings, workspaces.lives, workspaces.runs)
    identities = Identities(settings, database)
    store, staging = open_blobs(settings)
    keyring = Keyring(settings)
    settle(database, keyring)
    accounts = Accounts(database, keyring)
    blobs = BlobAccounts(accounts, store)
    tracking = MlflowTracking(settings, workspaces.account)
    environments = UvEnvironments(settings, server=servers.me)
    files = StoreFiles(store, staging)
    objects = files if settings.remote_store else None
    finder = Finder(
        blobs.path, environments.prefix, settings.blobs.resolve(), str(settings.tls / "bundle.pem"), objects
    )
    dialled = partial(dial, settings)
    remote = RemoteEngine(database, clock, settings.node_lost_s, database.sqlite, servers.me, dialled)
    local = LocalEngine(settings, finder)
    engine = Engines(local, remote)
    gateway = EnvoyGateway(settings, tokens)
    hub = Hub()
    database.follow(hub.told)
    audit = Audit(database, clock)
    permits = RecentPermits(workspaces.permits)
    hub.follow(permits.ended)
    platform = Platform(
        settings,
        database,
        clock,
        hub,
        engine,
        environments,
        blobs,
        tracking,
        RegisteredModels(tracking),
        gateway,
        tokens,
        headers,
        Secrets(keyring),
        accounts.account_keys,
        grants,
        audit,
        servers,
        RayProvider(settings),
    )
    kinds = Kinds.scan(smalt.kinds)
    crud = Crud(kinds)
    if servers.me:
        with database.write() as connection:
            register(connection, servers.me, servers.url, kinds.reconciled(), clock())
        servers.beat()
    bootstrap(platform)
    orphans = Orphans(database, servers, local.owners, local.remove, withdraw=lambda: withdraw(platform))
    loop = Loop(
        platform,
        kinds,
        crud.remove_stored,
        stepped=lambda kind, seconds: recorder.record("", STEP.name, seconds, {"kind": kind}, spread=True),
        returned=orphans.look_again,
    )

    def changed(owner: str) -> None:
        if owner == NODES:
            remote.look()
        else:
            loop.hint(owner)

    engine.watch(changed)

    audiences = (*arm_audiences(settings), *ml_audiences())

    def who(scope: Scope) -> Principal:
        return authenticate(scope, tokens, audiences, sessions)

    doors = ServiceDoors(platform, ServiceAccess(settings, database), workspaces.authorize)
    services = ServiceGate(
        platform, doors, lambda scope: authenticate(scope, tokens, audiences), TerminalPage(VENDORED)
    )
    tracking_app = TrackingApp(
        settings,
        tracking,
        tokens,
        blobs,
        files=blobs,
        objects=objects,
        audiences=audiences,
        exists=workspaces.exists,
        authorize=workspaces.authorize,
        models=ModelRows(database, hub, clock),
        jobs=JobRuns(database, tracking, clock),
        session=sessions.read,
        audit=audit,
        record=recorder.record_all,
        told=JobRuns(database, tracking, clock).hear,
    )
    hub.follow(tracking_app.ended)
    hub.follow(remote.hear)
    login = Login(settings, tokens, identities, headers, sessions, audit=audit)
    service = BlobService(accounts, store, staging)
    arm = ArmApp(
        platform,
        crud,
        who,
        workspaces.authorize,
        Streams(hub, heard=lambda newest_at: recorder.record("", FEED.name, clock() - newest_at, spread=True)),
    )
    dispatcher = Dispatcher(
        blobs=AccountListing(BlobApp(service, tokens, permits, Refusals(audit, database))),
        tracking=tracking_app,
        history=HistoryApp(platform, who, workspaces.authorize),
        datastores=DatastoreApp(
            platform,
            who,
            workspaces.authorize,
            lambda one, account, verb: workspaces.permits(one, Target(account), verb),
        ),
        nodes=NodesApp(remote, lambda: service, files, partial(sign, settings), Packs(database, clock, files)),
        visits=VisitApp(platform, who, workspaces.authorize, doors, SshDoor(engine, settings.secrets, services.spawn)),
        registries=RegistryApp(platform, who, workspaces.authorize, arm),
        arm=arm,
        studio=StudioApp(
            settings,
            sessions,
            RunReadings(tracking),
            lambda: dispatcher,
            SharedLinks(database, platform.secrets, audit, clock),
        ),
        open_routes=open_routes(
            settings.url,
            login.routes(),
            Pages(),
            MetricsPage(recorder, who, workspaces.authorize),
            ServicePages(sessions, doors),
        ),
        make_room=Reserve(settings.root).make_room,
    )
    collector = Collector(platform, recorder, capacity_of, partial(dial, settings))
    gateway.follow(collector.told)
    delivery = None
    if settings.openlineage:
        delivery = Delivery(platform, target(settings.openlineage, os.environ.get(KEY, "")))
        hub.follow(delivery.changed)
    watch = Watch(platform)
    hub.follow(watch.changed)
    collector.follow(watch.recorded)
    scaler = Scaler(platform)
    hub.follow(scaler.changed)
    listener = Listener(database, hub.told)
    return Server(
        dispatcher,
        loop,
        platform,
        engine,
        remote,
        orphans,
        crud,
        listener,
        collector,
        services,
        delivery,
        scaler,
        AsleepApp(platform),
        watch,
        gateway.crowds,
    )


def _id_of(settings: Settings) -> str:
    """This server's, for as long as its root is there."""
    return keep_secret(settings.root / "server", lambda: secrets.token_hex(8).encode(), bytes.decode)


def open_blobs(settings: Settings) -> tuple[ObjectStore, Staging]:
    """Where blobs are, and where bytes wait until they are one. Asks a remote store nothing."""
    if settings.remote_store:
        return open_store(settings.store_url), Staging(settings.blobs)
    folder = FolderStore(settings.blobs.resolve(), hides=PrivateFiles(settings).hides)
    return folder, folder.staging
