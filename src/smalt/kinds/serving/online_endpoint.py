"""Online endpoints: a name, a way to authenticate, and how traffic is split between deployments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection

from smalt.arm.crud import Answer
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.kind import SERVING, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.listing import carries, named
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.validation import Properties, Texts, nearest
from smalt.auth.access import WORKSPACES
from smalt.auth.endpoint_keys import KEY, RULE, new_key
from smalt.kinds.serving import history, hosting, routing
from smalt.kinds.serving.place import moved
from smalt.kinds.serving.serving_settings import given
from smalt.settings import TENANT
from smalt.store import operations, resources
from smalt.store.resources import Lock, Row

REGENERATE = f"{WORKSPACES}/onlineendpoints/regeneratekeys/action"
TOKEN_S = 24 * 3600.0
_RESYNC_S = 30.0


class EndpointProperties(Properties):
    auth_mode: Literal["Key", "AMLToken", "AADToken", "key", "aml_token", "aad_token"] | None = None
    traffic: dict[str, int] | None = None
    mirror_traffic: dict[str, int] | None = None
    properties: Texts | None = None
    description: str | None = None
    public_network_access: str | None = None
    compute: str | None = None


def _set_compute(connection: Connection, request: Request, properties: Document, old: Row | None) -> None:
    """`compute` is the id of the cluster that has the instances of what is deployed here. Raises ArmError(400, 409)."""
    field, before = hosting.ENDPOINT_FIELD, str(old.properties.get("compute") or "") if old is not None else ""
    if given := properties.pop("compute", None):
        row = hosting.named(connection, request.id.workspace, str(given), field)
        properties["compute"] = row.written
    if old is not None and str(properties.get("compute") or "").lower() != before.lower():
        shown = f"'{before.rpartition('/')[2]}'" if before else "this machine"
        raise conflict(
            f"{field}: the instances of endpoint '{old.name}' run on {shown}; make another endpoint to change that.",
            field,
        )


_KEYS = ("primaryKey", "secondaryKey")
_MODES = {
    "key": "Key",
    "amltoken": "AMLToken",
    "aml_token": "AMLToken",
    "aadtoken": "AADToken",
    "aad_token": "AADToken",
}


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    _set_compute(connection, request, properties, old)
    properties["authMode"] = _MODES[str(properties.get("authMode") or "Key").lower()]
    properties["properties"] = properties.get("properties") or {}
    for field in ("traffic", "mirrorTraffic"):
        properties[field] = properties.get(field) or {}
    keys = _given_keys(properties.pop("keys", None))
    if any(keys.values()) or (old is not None and old.properties.get("authMode") != properties["authMode"]):
        request.platform.grants.check(request.principal, REGENERATE, request.id.key)  # no way around it
    taken = [
        row
        for row in resources.by_lookup(connection, routing.ENDPOINTS, request.id.name.lower())
        if row.id != request.id.key
    ]
    if taken:
        raise conflict(
            f"An endpoint named '{request.id.name}' exists already on this server (in {taken[0].parent});"
            " endpoint names are unique on a server. Choose another name.",
            "name",
        )
    _check_traffic(connection, request, properties)

    def writes(connection: Connection) -> None:
        secrets = request.platform.secrets
        have = secrets.of(connection, request.id.key)
        for name in _KEYS:
            if name not in have:  # as on Azure, a PUT sets keys only of an endpoint that it makes
                secrets.set(connection, request.id.key, name, keys[name] or new_key())
        if old is not None:
            history.remember(connection, old, spec, request.now, request.principal.name)

    spec = {**request.body, "properties": properties, "location": request.body.get("location") or "local"}
    spec["identity"] = {"type": "SystemAssigned", **given(spec.get("identity"))}
    state = "Updating" if old else "Creating"
    return Admitted(spec, state=state, due=True, lookup=request.id.name.lower(), writes=writes)


def _check_traffic(connection: Connection, request: Request, properties: Mapping[str, Any]) -> None:
    """Shares add up to 0 or 100 and go to deployments that exist."""
    errors: list[ArmError] = []
    rows = resources.get_many(connection, resources.children(connection, request.id.key, routing.DEPLOYMENTS))
    known = {row.name.lower(): row for row in rows.values() if not row.deleting}
    for field, most in (("traffic", 100), ("mirrorTraffic", 50)):
        shares = properties[field]
        path = f"properties.{field}"
        for name, share in shares.items():
            if not 0 <= share <= 100:
                errors.append(invalid(f"{path}.{name}: {share} is not a percentage from 0 to 100.", f"{path}.{name}"))
            if name.lower() not in known:
                hint = nearest(name, list(known))
                errors.append(
                    invalid(f"{path}.{name}: the endpoint has no deployment '{name}'.{hint}", f"{path}.{name}")
                )
            elif share and not known[name.lower()].status.get("live"):
                state = known[name.lower()].state
                errors.append(
                    invalid(
                        f"{path}.{name}: deployment '{name}' is {state} and cannot take traffic yet.", f"{path}.{name}"
                    )
                )
        spelled = Counter(name.lower() for name in shares)
        errors += [
            invalid(f"{path}.{name}: deployment '{name}' is named {count} times.", f"{path}.{name}")
            for name, count in spelled.items()
            if count > 1
        ]
        total = sum(shares.values())
        if field == "traffic" and total not in (0, 100):
            errors.append(invalid(f"{path}: the shares add up to {total}; they must add up to 0 or 100.", path))
        if field == "mirrorTraffic" and total > most:
            errors.append(invalid(f"{path}: at most {most} % can be mirrored, not {total}.", path))
    errors += _wrong_mirrors(properties["traffic"], properties["mirrorTraffic"])
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise invalid(" ".join(error.message for error in errors), errors[0].target, errors)


def _wrong_mirrors(traffic: Mapping[str, int], mirrored: Mapping[str, int]) -> list[ArmError]:
    """As on Azure: one deployment sees copies, and none of those that answer."""
    path = "properties.mirrorTraffic"
    seeing = [name for name, share in mirrored.items() if share]
    answering = {name.lower() for name, share in traffic.items() if share}
    errors = [
        invalid(f"{path}.{name}: '{name}' takes traffic, so nothing can be mirrored to it.", f"{path}.{name}")
        for name in seeing
        if name.lower() in answering
    ]
    if len(seeing) > 1:
        errors.append(invalid(f"{path}: traffic is mirrored to one deployment at a time, not {len(seeing)}.", path))
    return errors


def _given_keys(given: Any) -> dict[str, str]:
    if given is not None and not isinstance(given, dict):
        raise invalid("properties.keys: this must be an object with primaryKey and secondaryKey.", "properties.keys")
    return {name: _checked_key((given or {}).get(name), f"properties.keys.{name}") for name in _KEYS}


def _checked_key(given: Any, field: str) -> str:
    """The key as it was given, '' where none was; a refusal does not repeat it."""
    if given and not (isinstance(given, str) and KEY.fullmatch(given)):
        raise invalid(f"{field}: {RULE}. Leave it out to have one made.", field)
    return given or ""


def _reconcile(platform: Platform, row: Row) -> Step:
    if there := moved(platform, row):
        return there
    with platform.database.read() as connection:
        found = routing.routed(platform, connection, row.id)
    status = {name: value for name, value in row.status.items() if name != "error"}
    if not found.settled:
        writes = routing.request_change(platform, row.id)
        return Step("Deleting" if row.deleting else row.state, status, after=_RESYNC_S, writes=writes)
    if row.deleting:
        return Step(row.state, status, gone=True)
    if found.error:
        return Step("Failed", {**status, "error": found.error}, done=True, error=found.error, after=_RESYNC_S)
    return Step("Succeeded", status, done=True)


def _view(platform: Platform, row: Row) -> Document:
    base = f"{platform.servers.url_of(row.home)}/endpoints/{row.name}"
    return {
        "scoringUri": f"{base}/score",
        "swaggerUri": f"{base}/swagger.json",
        "publicNetworkAccess": row.properties.get("publicNetworkAccess") or "Enabled",
    }


def _need_mode(row: Row, mode: str, otherwise: str) -> None:
    """Raises ArmError(400)."""
    if (own := row.properties.get("authMode")) != mode:
        raise invalid(f"Endpoint '{row.name}' uses {own}: {otherwise}.", "authMode")


def _list_keys(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    _need_mode(row, "Key", "it has no keys; ask for a token")
    with request.platform.database.read() as connection:
        found = request.platform.secrets.of(connection, row.id)
    return 200, {"primaryKey": found.get("primaryKey"), "secondaryKey": found.get("secondaryKey")}


def _regenerate(request: Request, row: Row | None) -> tuple[int, Any]:
    """A new key, in force at the gateway when the operation ends; the other key goes on to work."""
    assert row is not None
    _need_mode(row, "Key", "it has no keys to replace")
    which = str(request.body.get("keyType") or "").lower()
    if which not in ("primary", "secondary"):
        raise invalid(f"keyType: '{request.body.get('keyType')}' is not Primary or Secondary.", "keyType")
    name, wanted = f"{which}Key", _checked_key(request.body.get("keyValue"), "keyValue")
    with request.platform.database.write() as connection:
        current = resources.get(connection, row.id, Lock.WRITE)
        if current is None:
            raise conflict(f"Endpoint '{row.name}' is gone.", "name")
        if wanted == request.platform.secrets.of(connection, row.id).get(name):
            wanted = ""  # the SDK sends the key that is to be replaced
        request.platform.secrets.set(connection, row.id, name, wanted or new_key())
        resources.replace_spec(
            connection, current, current.spec, state="Updating", now=request.now, by=request.principal.name, due=True
        )
        operation = operations.begin(connection, row.id, "regenerateKeys", current.generation + 1, request.now)
    request.platform.hub.notify(row.id)
    return 202, Answer(202, None, {}, operation)


def _token(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    elsewhere = "list its keys" if row.properties.get("authMode") == "Key" else "sign in for Azure Machine Learning"
    _need_mode(row, "AMLToken", f"no token of its own opens it; {elsewhere}")
    platform = request.platform
    if (serves := platform.servers.url_of(row.home)) != platform.servers.url:
        raise conflict(f"Endpoint '{row.name}' is served by {serves}: ask there for its tokens.", "name")
    principal = Principal(
        oid=request.principal.oid, name=request.principal.name, kind="endpoint", tenant=TENANT, scope=row.parent
    )
    token = platform.tokens.issue(principal, routing.audience(platform, row.name), TOKEN_S)
    return 200, {
        "accessToken": token,
        "expiryTimeUtc": int(request.now + TOKEN_S),
        "refreshAfterTimeUtc": int(request.now + TOKEN_S / 2),
        "tokenType": "Bearer",
        "issuedAt": timestamp(request.now),
    }


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    wanted = query.get("name")
    return (
        (not wanted or row.name.lower() == wanted.lower())
        and named("Managed", query.get("computeType"))
        and carries(row.spec.get("tags"), query.get("tags"))
        and carries(row.properties.get("properties"), query.get("properties"))
    )


KIND = Kind(
    path="workspaces/onlineEndpoints",
    tracked=True,
    title="online endpoint",
    lane=SERVING,
    properties=EndpointProperties,
    admit=_admit,
    reconcile=_reconcile,
    view=_view,
    actions={
        "listKeys": Action(_list_keys, gives_secrets=True),
        "regenerateKeys": Action(_regenerate, gives_secrets=True),
        "token": Action(_token, gives_secrets=True),
        "history": Action(history.history(_check_traffic), method="GET"),
        "rollback": Action(history.rollback(_check_traffic)),
    },
    deleted=routing.forget,
    list_filter=_filter,
    long_running=True,
    whole=("traffic", "mirrorTraffic"),
    name_pattern=r"^[a-zA-Z][a-zA-Z0-9\-]{1,30}[a-zA-Z0-9]$",
)
