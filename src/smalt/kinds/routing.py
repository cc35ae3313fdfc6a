"""From endpoints and deployments to the gateway's configuration, reconciled as one row of its own.

An endpoint or deployment that changed wakes the row `GATEWAY` and is done once the row says that a configuration with its
own route (`digest`) is in force. So there is one writer, and a change is `Succeeded` only when requests follow it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from json import dumps

from sqlalchemy import Connection

from smalt.arm.kind import Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.tokens import ml_audiences
from smalt.store import resources
from smalt.store.resources import Row

GATEWAY = "/smalt/gateways/main"
ENDPOINTS, DEPLOYMENTS = "workspaces/onlineendpoints", "workspaces/onlineendpoints/deployments"
_LOOK_AGAIN_S = 0.01
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
    secrets = resources.secrets_of(connection, endpoint.id)
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


def in_force(platform: Platform, connection: Connection, endpoint: str) -> bool:
    """Whether the gateway does for this endpoint what the database says."""
    row = resources.get(connection, endpoint)
    gateway = resources.get(connection, GATEWAY)
    wanted = digest(route(platform, connection, row)) if row else ""
    return gateway is not None and gateway.status.get("applied", {}).get(endpoint, "") == wanted


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
    wanted = [one for _, one in sorted(routes.items()) if one is not None]
    version = platform.gateway.apply(wanted)
    if not platform.gateway.in_force(version):
        return Step("Updating", row.status, after=_LOOK_AGAIN_S)
    applied = {key: digest(one) for key, one in routes.items()}
    return Step("Succeeded", {"applied": applied, "version": version}, done=True, after=_RESYNC_S)


KIND = Kind(path="gateways", title="gateway", reconcile=_reconcile)
