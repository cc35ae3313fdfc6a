"""From endpoints and deployments to the gateway's configuration, reconciled as one row of its own.

An endpoint or deployment that changed wakes the row `GATEWAY` and is done once the row says that a configuration with its
own route (`digest`) is in force. So there is one writer, and a change is `Succeeded` only when requests follow it.

An endpoint that the gateway cannot serve is left out and told so; all others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from json import dumps

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.kind import Document, Kind, Step, keep_trying
from smalt.arm.platform import Platform
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.tokens import ml_audiences
from smalt.store import resources
from smalt.store.resources import Row

GATEWAY = "/smalt/gateways/main"
ENDPOINTS, DEPLOYMENTS = "workspaces/onlineendpoints", "workspaces/onlineendpoints/deployments"
_LOOK_AGAIN_S, _LOOK_AGAIN_MOST_S = 0.01, 1.0
_RESYNC_S = 60.0


def audience(platform: Platform, endpoint: str) -> str:
    """What the tokens of an endpoint with AMLToken are for."""
    return f"{platform.settings.url}/endpoints/{endpoint}"


def route(platform: Platform, connection: Connection, endpoint: Row) -> EndpointRoute | None:
    """What the gateway should do for an endpoint now; None while it is being deleted."""
    if endpoint.deleting:
        return None
    deployments = [
        DeploymentRoute(
            name=row.name,
            sockets=tuple(row.status["live"]["sockets"]),
            timeout_s=float(row.status["live"]["timeout_s"]),
            max_concurrent=int(row.status["live"]["max_concurrent"]),
            max_queue_wait_s=float(row.status["live"]["max_queue_wait_s"]),
        )
        for key in resources.children(connection, endpoint.id)
        if (row := resources.get(connection, key)) is not None
        and row.kind == DEPLOYMENTS
        and not row.deleting
        and (row.status.get("live") or {}).get("sockets")
    ]
    served = {one.name.lower(): one.name for one in deployments}
    secrets = platform.secrets.of(connection, endpoint.id)
    mode = str(endpoint.properties.get("authMode") or "Key").lower()
    audiences = {"amltoken": audience(platform, endpoint.name), "aadtoken": " ".join(ml_audiences())}

    def share(field: str) -> dict[str, int]:
        given = endpoint.properties.get(field) or {}
        return {served[name.lower()]: int(part) for name, part in given.items() if name.lower() in served and int(part)}

    return EndpointRoute(
        name=endpoint.name,
        keys=tuple(secrets[name] for name in ("primaryKey", "secondaryKey") if name in secrets)
        if mode == "key"
        else (),
        traffic=share("traffic"),
        mirror=share("mirrorTraffic"),
        deployments=tuple(sorted(deployments, key=lambda one: one.name)),
        jwt_audience=audiences.get(mode, ""),
        workspace=endpoint.parent,
    )


def digest(found: EndpointRoute | None) -> str:
    if found is None:
        return ""
    return hashlib.sha256(dumps(asdict(found), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Routed:
    """`follows`: the gateway does for an endpoint what the database says. `error`: why it serves nothing of it, as it is now."""

    follows: bool
    error: Document | None = None

    @property
    def settled(self) -> bool:
        return self.follows or self.error is not None


def routed(platform: Platform, connection: Connection, endpoint: str) -> Routed:
    row, gateway = resources.get(connection, endpoint), resources.get(connection, GATEWAY)
    if gateway is None:
        return Routed(False)
    wanted = digest(route(platform, connection, row)) if row else ""
    refused = gateway.status.get("refused", {}).get(endpoint)
    if refused and refused["digest"] == wanted:
        return Routed(False, {"code": "EndpointNotServed", "message": refused["message"]})
    return Routed(gateway.status.get("applied", {}).get(endpoint, "") == wanted)


def request_change(platform: Platform, waiter: str) -> Callable[[Connection], None]:
    """Writes for a Step: the gateway looks again, and `waiter` is woken when it has."""

    def writes(connection: Connection) -> None:
        now = platform.clock()
        if resources.get(connection, GATEWAY) is None:
            resources.insert(
                connection, key=GATEWAY, written=GATEWAY, kind="gateways", parent="", name="main", spec={}, status={},
                state="Creating", now=now, by="smalt", due_at=now,
            )  # fmt: skip
        resources.poke(connection, [GATEWAY], now)
        resources.wait_for(connection, waiter, [GATEWAY])

    return writes


def _reconcile(platform: Platform, row: Row) -> Step:
    with platform.database.read() as connection:
        keys = resources.keys_of_kind(connection, ENDPOINTS)
        endpoints = resources.get_many(connection, keys)
        routes = {key: route(platform, connection, endpoint) for key, endpoint in endpoints.items()}
    version, faults = _apply(platform, routes)
    if not platform.gateway.in_force(version):
        return _look_again(row, version)
    applied = {key: digest(one) for key, one in routes.items() if key not in faults}
    refused = {key: {"digest": digest(routes[key]), "message": message} for key, message in faults.items()}
    news = [key for key, one in refused.items() if row.status.get("refused", {}).get(key) != one]

    def writes(connection: Connection) -> None:
        resources.poke(connection, news, platform.clock())

    status = {"applied": applied, "refused": refused, "version": version}
    return Step("Succeeded", status, done=True, after=_RESYNC_S, writes=writes)


def _apply(platform: Platform, routes: Mapping[str, EndpointRoute | None]) -> tuple[str, dict[str, str]]:
    """The version with all endpoints that can be served, and by id why the others cannot."""
    wanted = {key: one for key, one in sorted(routes.items()) if one is not None}
    try:
        return platform.gateway.apply(list(wanted.values())), {}
    except ArmError as error:
        faults = {one.target: one.message for one in error.details}
    refused = {key: faults[one.name] for key, one in wanted.items() if one.name in faults}
    return platform.gateway.apply([one for key, one in wanted.items() if key not in refused]), refused


def _look_again(row: Row, version: str) -> Step:
    """Soon, since Envoy takes milliseconds; then ever later, since it may be down, or be waiting for a replica."""
    before = row.status.get("awaited") or {}
    times = before["times"] + 1 if before.get("version") == version else 0
    status = {**row.status, "awaited": {"version": version, "times": times}}
    return Step("Updating", status, after=min(_LOOK_AGAIN_S * 2 ** min(times, 30), _LOOK_AGAIN_MOST_S))


KIND = Kind(path="gateways", title="gateway", reconcile=_reconcile, fail=keep_trying)
