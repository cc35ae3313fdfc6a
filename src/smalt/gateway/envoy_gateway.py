"""`ports.Gateway` over Envoy: the desired state on disk, and the steps that bring the proxy there, losing no request.

A change goes clusters first, then routes, then what no route leads to any more:

    1. `cds.json` becomes old and new clusters together;
    2. once Envoy has them, and new ones have passed a health check, `rds.json` becomes the new routes;
    3. once Envoy follows those, `cds.json` becomes the new clusters alone.

Until the routes follow, no cluster on disk is taken away. Nothing here waits: each call of `apply`,
`change` or `in_force` takes the steps that can be taken. All that they need stands on disk, so any process
may go on where another was killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from smalt.arm.ports import Counted, EndpointRoute, NotReady
from smalt.auth.secret_files import private_folder, replace_file
from smalt.auth.tokens import TokenService
from smalt.gateway.addresses import is_local
from smalt.gateway.admin import MOST_NAMED, Admin, NotAnswering
from smalt.gateway.bootstrap import bootstrap
from smalt.gateway.clusters import Trust, counted, counting, server_cluster, services_cluster, traces_cluster
from smalt.gateway.crowds import Crowds, Network, Room, own_networks
from smalt.gateway.documents import Document, Documents, content_hash
from smalt.gateway.listener import OWN_SECRET, ROOM, SECRET, certificate, listener
from smalt.gateway.rendered import Kept, Rendered, Renderings, kept
from smalt.gateway.routes import check, route_configuration, service_hosts
from smalt.gateway.traffic import ALL, IN_FLIGHT, in_flight, question, traffic
from smalt.settings import Settings

# So long a new cluster without a healthy host holds up the routes; then it is its deployment's affair.
HEALTH_WAIT_S = 3.0
TOLD_EVERY_S = 0.008  # a change is looked at again and again: the counters that go need not be, each time


@dataclass(frozen=True)
class _Desired:
    """`digest` is of all documents that follow from `endpoints`.

    `fresh`: clusters that are new or changed since the routes last followed; `since`: when this became desired.
    """

    sequence: int = 0
    digest: str = ""
    endpoints: Kept = field(default_factory=dict[str, Document])
    fresh: list[str] = field(default_factory=list)
    since: float = 0

    @property
    def version(self) -> str:
        return f"{self.sequence:08d}-{self.digest}"


class EnvoyGateway:
    """`tokens` gives the keys with which endpoints check tokens. Thread-safe, and safe between processes."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenService,
        clock: Callable[[], float] = time.time,
        room: Room = ROOM,
        own: Callable[[], Sequence[Network]] = own_networks,
    ) -> None:
        self.crowds = Crowds(settings.port, room, self._bind, shared=not is_local(settings.host), own=own)
        self._room = room
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._admin = Admin(settings.envoy_admin_socket)
        self._told: Callable[[str, Counted], None] | None = None
        self._told_at = float("-inf")
        self._leaving: list[str] = []  # the names under which clusters count that Envoy was told to do without
        self._threads = threading.Lock()
        self._documents = Documents()
        folder = settings.gateway
        self._bootstrap = settings.envoy_bootstrap
        self._state = folder / "desired.json"
        self._listeners = folder / "lds" / "lds.json"
        self._secrets = folder / "sds" / "sds.json"
        self._own_secrets = folder / "own" / "sds.json"  # a file has one secret
        self._renderings = Renderings(Trust(self._own_secrets, OWN_SECRET, settings.tls / "ca.pem"))
        self._clusters = folder / "cds" / "cds.json"
        self._routes = folder / "rds" / "rds.json"
        self._pressure = folder / "pressure" / "pressure.json"

    def write_bootstrap(self) -> None:
        """Everything that Envoy needs to start: before its first start, and again when host, port or keys change."""
        settings = self._settings
        for path in (settings.run, settings.logs, self._listeners.parent, self._pressure.parent):
            private_folder(path)
        os.close(os.open(settings.logs / "access.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        desired = bootstrap(settings, self._listeners, self._clusters, self._pressure, self._room)
        if self._documents.read(self._bootstrap) != desired:
            self._documents.write(self._bootstrap, desired)
        for name, path in ((SECRET, self._secrets), (OWN_SECRET, self._own_secrets)):
            secret = certificate(name, settings.tls, name)
            self._documents.write_resources(path, content_hash(secret), [secret])
        self._bind([], 0)
        with self._locked():
            state = self._load()
            if state.digest or not self._documents.read(self._routes):
                self._advance(self._desire(state, state.endpoints))

    def _bind(self, crowds: Sequence[str], pressure: float) -> None:
        """Envoy is to bound `crowds`, and is as full as `pressure` says."""
        tokens = self._tokens
        main = listener(
            self._settings, self._routes, self._secrets, tokens.issuer, tokens.jwks(), self._room, sorted(crowds)
        )
        self._documents.write_resources(self._listeners, content_hash(main), [main])
        replace_file(self._pressure, str(pressure).encode())

    def listening(self) -> bool:
        """Whether Envoy runs and takes connections on the port."""
        try:
            return self._admin.listening()
        except NotAnswering:
            return False

    def refusals(self) -> list[str]:
        """What Envoy says against its configuration ("cannot bind … Address already in use"); for people."""
        try:
            return self._admin.refusals()
        except NotAnswering:
            return []

    def apply(self, endpoints: Sequence[EndpointRoute]) -> str:
        """See `ports.Gateway`.

        Raises ArmError(400) as `routes.check` does, and changes nothing, for what could not be served.
        """
        check(endpoints)
        with self._locked():
            state = self._desire(self._load(), {one.name.lower(): kept(one) for one in endpoints})
            self._advance(state)
        return state.version

    def change(self, endpoints: Mapping[str, EndpointRoute | None]) -> str:
        """See `ports.Gateway`. Raises as `apply`."""
        check([one for one in endpoints.values() if one is not None])
        with self._locked():
            before = self._load()
            if not before.digest:
                raise LookupError("what is desired of the gateway is not known: apply all of it")
            changes = {name.lower(): None if one is None else kept(one) for name, one in endpoints.items()}
            after = {key: one for key, one in {**before.endpoints, **changes}.items() if one is not None}
            state = self._desire(before, after)
            self._advance(state)
        return state.version

    def in_force(self, version: str) -> bool:
        """See `ports.Gateway`. Also takes the next step towards the desired state: call it until it is true."""
        with self._locked():
            following = self._advance(self._load())
        return _sequence(following) >= _sequence(version) > 0

    def traffic(self) -> tuple[str, Counted]:
        """See `ports.Gateway`."""
        try:
            return self._admin.process(), traffic(self._admin.get(question()))
        except NotAnswering as error:
            raise NotReady(f"Envoy does not answer: {error}") from error

    def in_flight(self) -> Mapping[tuple[str, str], int]:
        """See `ports.Gateway`."""
        try:
            return in_flight(self._admin.get(IN_FLIGHT))
        except NotAnswering as error:
            raise NotReady(f"Envoy does not answer: {error}") from error

    def follow(self, told: Callable[[str, Counted], None]) -> None:
        """`told` is given what `traffic` says of deployments whose counters are about to go, where there is any.

        It is called again as long as that has not happened, and must not wait.
        """
        self._told = told

    def _tell(self) -> None:
        self._pass_on(self._ask())

    def _ask(self) -> str:
        """What those that leave have counted, as Envoy writes it; empty where nobody is to be told."""
        now = time.monotonic()
        if self._told is None or not self._leaving or now - self._told_at < TOLD_EVERY_S:
            return ""
        self._told_at = now
        names = "|".join(map(re.escape, self._leaving)) if len(self._leaving) <= MOST_NAMED else ALL
        with suppress(NotAnswering):
            return self._admin.get(question(names))
        return ""

    def _pass_on(self, answer: str) -> None:
        if self._told is not None and (found := traffic(answer)):
            with suppress(NotAnswering):
                self._told(self._admin.process(), found)

    def _desire(self, state: _Desired, endpoints: Kept) -> _Desired:
        before = self._renderings.of(state.endpoints)
        after = self._renderings.of(endpoints)
        base = [*self._standing(), self._route_table({})]
        digest = content_hash([base, {key: one.hash for key, one in after.items()}])
        if digest == state.digest:
            return state
        fresh = sorted(name for key, one in after.items() for name in _fresh(before.get(key), one, state.fresh))
        desired = _Desired(state.sequence + 1, digest, endpoints, fresh, self._clock())
        self._save(desired)
        return desired

    def _advance(self, state: _Desired) -> str:
        """Take the steps that can be taken now.

        Returns the version whose routes Envoy follows, '' if it does not run.
        """
        try:
            proxy = self._admin.in_force()
        except NotAnswering:
            proxy = None
        if self._documents.read(self._routes).get("version_info") != state.version:
            served = self._write_clusters(state, keep=True)
            taken = proxy is None or (proxy.clusters == served and self._settled(state))
            if taken:  # a proxy that does not run reads clusters before routes when it starts
                routes = {one.name: one.routes for one in self._renderings.of(state.endpoints).values()}
                self._documents.write_resources(self._routes, state.version, [self._route_table(routes)])
                if state.fresh:
                    self._save(replace(state, fresh=[]))
            else:
                self._tell()
        elif proxy is None or proxy.routes == state.version:
            self._write_clusters(state, keep=False)
        return proxy.routes if proxy else ""

    def _write_clusters(self, state: _Desired, keep: bool) -> str:
        """The desired clusters, and with `keep` also the others that are on disk; returns the version of the file."""
        rendered = self._renderings.of(state.endpoints)
        version = content_hash([self._standing(), {key: one.clusters_hash for key, one in rendered.items()}])
        on_disk = self._documents.read(self._clusters)
        if on_disk.get("version_info") == version:
            return version
        before = {one["name"]: one for one in on_disk.get("resources", [])}
        made = [cluster for one in rendered.values() for cluster in one.clusters]
        desired = [*self._standing(), *(counted(one, before.get(one["name"]), state.sequence) for one in made)]
        names = {one["name"] for one in desired}
        leaving = [one for name, one in before.items() if name not in names] if keep else []
        if leaving:
            version += f"-{content_hash(leaving)}"
        self._leaving = sorted(counting(before.values()) - counting([*desired, *leaving]))
        self._told_at = float("-inf")
        answers: list[
            str
        ] = []  # asked for right before they go, and read after that: what is answered meanwhile is lost
        resources = [*desired, *leaving]
        self._documents.write_resources(self._clusters, version, resources, last=lambda: answers.append(self._ask()))
        for answer in answers:
            self._pass_on(answer)
        return version

    def _standing(self) -> list[Document]:
        """The clusters that there always are."""
        settings = self._settings
        traces = [traces_cluster(settings.otlp)] if settings.otlp else []
        return [server_cluster(settings.server_socket), services_cluster(settings.services_socket), *traces]

    def _route_table(self, endpoints: Mapping[str, Sequence[Document]]) -> Document:
        return route_configuration(endpoints, service_hosts(self._settings.services_host, self._settings.port))

    def _settled(self, state: _Desired) -> bool:
        if not state.fresh or not 0 <= self._clock() - state.since <= HEALTH_WAIT_S:
            return True
        try:
            return not self._admin.warming() and not self._admin.unhealthy(state.fresh)
        except NotAnswering:
            return False

    def _load(self) -> _Desired:
        found = self._documents.read(self._state)
        if "endpoints" in found and _is_readable(found["endpoints"]):
            return _Desired(**found)
        served = self._documents.read(self._routes).get("version_info", "")
        return _Desired(_sequence(served))  # none yet, lost, or of an older version: go on from what is served

    def _save(self, state: _Desired) -> None:
        self._documents.write(self._state, vars(state))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_folder(self._settings.gateway)
        with self._threads:
            descriptor = os.open(self._settings.gateway / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)


def _is_readable(endpoints: Kept) -> bool:
    """Not where an older version named sockets in place of addresses."""
    return all("addresses" in deployment for one in endpoints.values() for deployment in one["deployments"])


def _fresh(before: Rendered | None, after: Rendered, waited_for: Sequence[str]) -> list[str]:
    """The names of the clusters of `after` that are not as they were, or were new already and are still waited for."""
    if before is not None and before.clusters_hash == after.clusters_hash and not waited_for:
        return []
    known = {one["name"]: one for one in before.clusters} if before is not None else {}
    return [one["name"] for one in after.clusters if one["name"] in waited_for or known.get(one["name"]) != one]


def _sequence(version: str) -> int:
    number = version.partition("-")[0]
    return int(number) if number.isdigit() else 0
