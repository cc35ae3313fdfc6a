"""From endpoints and deployments to the gateway's configuration, reconciled as one row of its own.

An endpoint or deployment that changed waits for the row `GATEWAY`, which looks at the endpoints of those that wait, and
now and then at all. It is done once a configuration with their routes is in force; which one, says a row below it for
each endpoint, by a digest. So there is one writer, and a change is `Succeeded` only when requests follow it.

An endpoint that the gateway cannot serve is left out and told so; all others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from json import dumps

from sqlalchemy import Connection

from smalt.agent.wire import Address
from smalt.arm.errors import ArmError
from smalt.arm.kind import INTERNAL, SERVING, Document, Kind, Step, keep_trying
from smalt.arm.platform import Platform
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.arm.ports.serving import DEPLOYMENTS, ENDPOINTS, GATEWAY, endpoint_of
from smalt.auth import living
from smalt.auth.tokens import ml_audiences
from smalt.kinds.serving.place import addresses_here, moved
from smalt.store import resources
from smalt.store.resources import Row

ROUTES = "gateways/routes"
_LOOK_AGAIN_S, _LOOK_AGAIN_MOST_S = 0.01, 1.0
_LOOK_AGAIN_GROWS = 1.25  # of what took a time, a quarter is added by when it is looked at
_RESYNC_S = 60.0
_NONE = ""  # the digest of an endpoint that is not routed

Routes = Mapping[str, EndpointRoute | None]  # by the endpoint's id


def audience(platform: Platform, endpoint: str) -> str:
    """What the tokens of an endpoint with AMLToken are for."""
    return f"{platform.settings.url}/endpoints/{endpoint}"


def _route(
    platform: Platform, endpoint: Row, deployments: Iterable[Row], secrets: Mapping[str, str], ended: Sequence[str]
) -> EndpointRoute | None:
    """What the gateway should do for an endpoint now; None while it is being deleted.

    `ended`: identities that were deleted.
    """
    if endpoint.deleting:
        return None
    live = [
        _deployment_route(platform, row.name, row.status["live"])
        for row in deployments
        if not row.deleting and row.status.get("live")
    ]
    served = {one.name.lower(): one.name for one in live}
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
        deployments=tuple(sorted(live, key=lambda one: one.name)),
        jwt_audience=audiences.get(mode, ""),
        workspace=endpoint.parent,
        ended=tuple(ended) if mode in audiences else (),
    )


def _deployment_route(platform: Platform, name: str, live: Document) -> DeploymentRoute:
    """Where it has no instance, requests go to who starts one."""
    addresses = tuple(Address(one) for _, one in sorted(addresses_here(platform, live).items()))
    return DeploymentRoute(
        name=name,
        addresses=addresses or (Address(f"unix:{platform.settings.asleep_socket}"),),
        timeout_s=float(live["timeout_s"]),
        max_concurrent=int(live["max_concurrent"]),
        max_queue_wait_s=float(live["max_queue_wait_s"]),
        asleep=not addresses,
    )


def _routes_of(platform: Platform, connection: Connection, keys: Iterable[str], ended: Sequence[str]) -> Routes:
    """What these endpoints' routes should be. One that is gone has none."""
    found = {key: resources.get(connection, key) for key in sorted(keys)}
    return {
        key: row and _route(platform, row, _below(connection, key), platform.secrets.of(connection, key), ended)
        for key, row in found.items()
    }


def _below(connection: Connection, endpoint: str) -> list[Row]:
    return list(resources.get_many(connection, resources.children(connection, endpoint, DEPLOYMENTS)).values())


def _all_routes(platform: Platform, connection: Connection, ended: Sequence[str]) -> Routes:
    """In as many statements for thousands of endpoints as for one."""
    keys = resources.keys_of_kind(connection, ENDPOINTS)
    deployments = resources.get_many(connection, resources.keys_of_kind(connection, DEPLOYMENTS)).values()
    below: dict[str, list[Row]] = {}
    for row in deployments:
        below.setdefault(row.parent, []).append(row)
    secrets = platform.secrets.of_many(connection, keys)
    endpoints = resources.get_many(connection, keys)
    return {key: _route(platform, row, below.get(key, ()), secrets[key], ended) for key, row in endpoints.items()}


def _digest(found: EndpointRoute | None) -> str:
    if found is None:
        return _NONE
    return hashlib.sha256(dumps(asdict(found), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Routed:
    """`follows`: the gateway does for an endpoint what the database says.

    `error`: why it serves nothing of it, as it is now.
    """

    follows: bool
    error: Document | None = None

    @property
    def settled(self) -> bool:
        return self.follows or self.error is not None


def routed(platform: Platform, connection: Connection, endpoint: str) -> Routed:
    told = resources.get(connection, _told_id(endpoint))
    if told is None:
        return Routed(False)
    wanted = _digest(_routes_of(platform, connection, [endpoint], living.ended(connection))[endpoint])
    follows = told.status["digest"] == wanted
    if follows and (refused := told.status.get("refused")):
        return Routed(False, {"code": "EndpointNotServed", "message": refused})
    return Routed(follows)


def forget(connection: Connection, endpoint: Row, now: float) -> None:
    """`Kind.deleted` of an endpoint."""
    resources.remove(connection, _told_id(endpoint.id), now)


def _told_id(endpoint: str) -> str:
    return f"{GATEWAY}{endpoint}"


def request_change(platform: Platform, waiter: str) -> Callable[[Connection], None]:
    """Writes for a Step: the gateway looks at the endpoint that `waiter` is or belongs to, and wakes `waiter` then."""

    def writes(connection: Connection) -> None:
        now = platform.clock()
        if resources.get(connection, GATEWAY) is None:
            resources.insert_own(connection, GATEWAY, "gateways", "main", now, "Creating", home=platform.servers.me)
        resources.reopen(connection, GATEWAY, now)
        resources.wait_for(connection, waiter, [GATEWAY], now)

    return writes


def _reconcile(platform: Platform, row: Row) -> Step:
    """Of all endpoints where none waits, an identity was deleted, or the last time was long ago.

    What a restored or damaged folder lost comes back so.
    """
    if there := moved(platform, row):
        return there
    now, looked_at = platform.clock(), row.status.get("looked_at_all", 0)
    with platform.database.read() as connection:
        changed = {endpoint_of(one) for one in resources.waiters(connection, GATEWAY)}
        ended = list(living.ended(connection))
        current = ended == row.status.get("ended", []) and 0 <= now - looked_at < _RESYNC_S
        if all_ := not changed or not current:
            routes = _all_routes(platform, connection, ended)
        else:
            routes = _routes_of(platform, connection, changed, ended)
    try:
        version, faults = _apply(platform, routes, whole=all_)
    except LookupError:  # its files were lost
        return Step(row.state, {**row.status, "looked_at_all": 0}, after=0)
    if not platform.gateway.in_force(version):
        return _look_again(row, version)
    told = {key: _told(one, faults.get(key, "")) for key, one in routes.items()}

    def writes(connection: Connection) -> None:
        _tell(connection, told, platform.clock())

    status = {"version": version, "looked_at_all": now if all_ else looked_at, "ended": ended}
    return Step("Succeeded", status, done=True, after=_RESYNC_S, writes=writes)


def _apply(platform: Platform, routes: Routes, whole: bool) -> tuple[str, dict[str, str]]:
    """The version with all of `routes` that can be served, and by id why the others cannot."""

    def apply(refused: Mapping[str, str]) -> str:
        served = {key: None if key in refused else one for key, one in sorted(routes.items())}
        if whole:
            return platform.gateway.apply([one for one in served.values() if one is not None])
        return platform.gateway.change({key.rpartition("/")[2]: one for key, one in served.items()})

    try:
        return apply({}), {}
    except ArmError as error:
        faults = {one.target: one.message for one in error.details}
    refused = {key: faults[one.name] for key, one in routes.items() if one is not None and one.name in faults}
    return apply(refused), refused


def _told(found: EndpointRoute | None, refused: str) -> Document:
    """The status of an endpoint's row below the gateway: `digest`, and where it is not served the reason, `refused`."""
    return {"digest": _digest(found)} | ({"refused": refused} if refused else {})


def _tell(connection: Connection, told: Mapping[str, Document], now: float) -> None:
    """Write what is news. An endpoint that is not served any more, or again, is to look at itself."""
    before = resources.get_many(connection, [_told_id(key) for key in told])
    for key, status in told.items():
        old = before.get(_told_id(key))
        if old is None:
            _insert(connection, key, status, now)
        elif old.status != status:
            resources.merge_status(connection, old.id, {"refused": None, **status})
        if (old.status if old else {}).get("refused") != status.get("refused"):
            resources.poke(connection, [key], now)


def _insert(connection: Connection, key: str, status: Document, now: float) -> None:
    if resources.get(connection, key) is not None:  # else it went meanwhile
        id_ = _told_id(key)
        resources.insert(
            connection,
            key=id_,
            written=id_,
            kind=ROUTES,
            parent=GATEWAY,
            name=key.rpartition("/")[2],
            spec={},
            status=status,
            state="Succeeded",
            now=now,
            by="smalt",
        )


def _look_again(row: Row, version: str) -> Step:
    """Soon, since Envoy takes milliseconds; then ever later, since it may be down, or be waiting for a replica."""
    before = row.status.get("awaited") or {}
    times = before["times"] + 1 if before.get("version") == version else 0
    status = {**row.status, "awaited": {"version": version, "times": times}}
    return Step("Updating", status, after=min(_LOOK_AGAIN_S * _LOOK_AGAIN_GROWS ** min(times, 30), _LOOK_AGAIN_MOST_S))


KINDS = [
    Kind(path="gateways", lane=SERVING, title="gateway", scopes=INTERNAL, reconcile=_reconcile, fail=keep_trying),
    Kind(path=ROUTES, title="route", scopes=INTERNAL),
]
