"""What stands beside a workspace: storage account, key vault, container registry, Application Insights.

Each is a resource of the workspace's group, or one whose id the user gave. The workspace's own are made and go with
it; those that were given stay. Behind the storage account are its blobs; behind the others is nothing yet, and their
documents name no address.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from smalt.arm import locks
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.ids import STORAGE, NotAnId, ResourceId
from smalt.arm.kind import Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.kinds.workspaces.encryption import check_encryption
from smalt.settings import REGION, TENANT
from smalt.store import operations, resources
from smalt.store.resources import Lock, Row

WAIT_S = 600.0  # between two looks at a workspace that has to go first, should a wake-up be lost
USER_S = 60.0  # how long a delete waits for that of the workspace: the SDK deletes what it uses before it


@dataclass(frozen=True)
class Support:
    """One of the four: its type, and what a new one's document says. `fixed`: a workspace keeps its first one."""

    provider: str
    type: str
    title: str
    name_pattern: str
    top: Mapping[str, Any]
    fixed: bool = False

    @property
    def kind(self) -> str:
        return ResourceId("s", "g").extension(self.provider, self.type, "n").kind

    def default(self, workspace: ResourceId, name: str) -> ResourceId:
        return workspace.parent.extension(self.provider, self.type, name)


SUPPORTS = {  # by the workspace's property
    "storageAccount": Support(
        STORAGE, "storageAccounts", "storage account", "^[a-z0-9]{3,24}$",
        {"kind": "StorageV2", "sku": {"name": "Standard_LRS", "tier": "Standard"}}, fixed=True,
    ),
    "keyVault": Support(
        "Microsoft.KeyVault", "vaults", "key vault", "^[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]$", {}, fixed=True
    ),
    "containerRegistry": Support(
        "Microsoft.ContainerRegistry", "registries", "container registry", "^[a-zA-Z0-9]{5,50}$",
        {"sku": {"name": "Standard", "tier": "Standard"}},
    ),
    "applicationInsights": Support(
        "Microsoft.Insights", "components", "Application Insights component", r"^[\w.()-]{1,259}[\w()-]$",
        {"kind": "web"},
    ),
}  # fmt: skip


def shown(workspace: Row) -> dict[str, str]:
    """The four ids, by the workspace's properties; those that are made with it are there when it has its account."""
    id_, account = ResourceId.parse(workspace.written), str(workspace.status.get("account", ""))
    given = {name: str(workspace.properties[name]) for name in SUPPORTS if workspace.properties.get(name)}
    own = {name: str(one.default(id_, account)) for name, one in SUPPORTS.items()} if account else {}
    return own | given


def accept(request: Request, connection: Connection, old: Row | None, properties: Document) -> None:
    """Put the ids that a workspace is given into `properties`, checked.

    What says nothing keeps what is there. Raises ArmError(400, 409).
    """
    known = shown(old) if old is not None else {}
    for name, one in SUPPORTS.items():
        given = properties.pop(name, None)
        kept = old.properties.get(name) if old is not None else None
        if not given or str(given).lower() == known.get(name, "").lower():
            id_ = kept
        elif old is not None and one.fixed:
            raise invalid(f"properties.{name}: the {one.title} of a workspace cannot be changed.", f"properties.{name}")
        else:
            id_ = str(_checked(connection, request, one, str(given), f"properties.{name}"))
        if id_:
            properties[name] = id_
    if old is None and "storageAccount" in properties:
        _check_free(request, connection, ResourceId.parse(properties["storageAccount"]))


def _checked(connection: Connection, request: Request, one: Support, text: str, field: str) -> ResourceId:
    """The id of such a resource, in a group that there is. Raises ArmError(400)."""
    try:
        id_ = ResourceId.parse(text)
    except NotAnId:
        id_ = ResourceId()
    if id_.kind != one.kind or len(id_.segments) != 1 or not re.fullmatch(one.name_pattern, id_.name):
        example = one.default(request.id, "name")
        raise invalid(f"{field}: '{text[:200]}' is not the id of a {one.title}, such as {example}.", field)
    if resources.get(connection, id_.parent.key) is None:
        raise invalid(
            f"{field}: there is no resource group '{id_.group}' in that subscription; create it first.", field
        )
    return id_


def _check_free(request: Request, connection: Connection, id_: ResourceId) -> None:
    """A storage account belongs to one workspace. Raises ArmError(409)."""
    row = resources.get(connection, id_.key)
    user = resources.get(connection, row.lookup or "") if row is not None else None
    others = [key for key in resources.keys_of_kind(connection, id_.kind) if key.endswith(f"/{id_.name.lower()}")]
    if row is None:
        free = not others and request.platform.account_keys.of(id_.name.lower()) is None
    else:
        free = not row.deleting and others == [row.id] and (user is None or user.id == request.id.key)
    if not free:
        message = (
            f"properties.storageAccount: the account '{id_.name}' is in use; a workspace here needs one of its own."
        )
        raise conflict(message, "properties.storageAccount")


def ensure(connection: Connection, workspace: Row, account: str, now: float) -> None:
    """The rows of the four, as the workspace names them; its own that it names no more are removed."""
    id_ = ResourceId.parse(workspace.written)
    wanted: set[str] = set()
    for name, one in SUPPORTS.items():
        given = workspace.properties.get(name)
        support = ResourceId.parse(given) if given else one.default(id_, account)
        wanted.add(support.key)
        if resources.get(connection, support.key) is None:
            _insert(connection, one, support, workspace, bool(given), now)
    _remove(connection, workspace, now, wanted)


def account_given(properties: Mapping[str, Any]) -> str:
    """The name of the storage account that a workspace was given, '' where it has one of its own."""
    given = properties.get("storageAccount")
    return ResourceId.parse(given).name.lower() if given else ""


def claim_account(
    connection: Connection, workspace: ResourceId, properties: Mapping[str, Any], now: float, by: str
) -> None:
    """In the transaction that writes a workspace: the storage account that it was given is its. Raises `Exists`."""
    if not properties.get("storageAccount"):
        return
    id_, one = ResourceId.parse(properties["storageAccount"]), SUPPORTS["storageAccount"]
    row = resources.get(connection, id_.key, Lock.WRITE)
    if row is not None and row.lookup != workspace.key:
        resources.replace_spec(
            connection, row, row.spec, state=row.state, now=now, by=by, due=False, lookup=workspace.key
        )
    elif row is None:
        spec = {**one.top, "location": REGION, "properties": {}}
        resources.insert(
            connection,
            key=id_.key,
            written=str(id_),
            kind=id_.kind,
            parent=id_.parent.key,
            name=id_.name,
            spec=spec,
            status={"given": True},
            state="Succeeded",
            now=now,
            by=by,
            lookup=workspace.key,
        )


def ensure_account(connection: Connection, registry: Row, account: str, now: float) -> None:
    """The row of a registry's storage account, beside which it has nothing."""
    one, id_ = SUPPORTS["storageAccount"], ResourceId.parse(registry.written)
    if resources.get(connection, one.default(id_, account).key) is None:
        _insert(connection, one, one.default(id_, account), registry, given=False, now=now)


def _insert(connection: Connection, one: Support, id_: ResourceId, workspace: Row, given: bool, now: float) -> None:
    own = None if given and one.kind != SUPPORTS["storageAccount"].kind else workspace.id
    spec = {**one.top, "location": workspace.spec.get("location") or REGION, "properties": {}}
    resources.insert(
        connection,
        key=id_.key,
        written=str(id_),
        kind=one.kind,
        parent=id_.parent.key,
        name=id_.name,
        spec=spec,
        status={"given": True} if given else {},
        state="Succeeded",
        now=now,
        by=workspace.created_by,
        lookup=own,
    )


def check_delete(request: Request, connection: Connection, workspace: Row) -> None:
    """`Kind.check_delete` of workspaces: what goes with one must not be locked. Raises ArmError(409)."""
    for one in _own(connection, workspace):
        locks.check_delete(connection, ResourceId.parse(one.written))


def remove(connection: Connection, workspace: Row, now: float) -> None:
    """`Kind.deleted` of workspaces: what was made with it goes too; what was given and is being deleted can go now."""
    _remove(connection, workspace, now, set())
    given = resources.by_lookup(connection, SUPPORTS["storageAccount"].kind, workspace.id)
    resources.poke(connection, [row.id for row in given if row.deleting], now)


def _remove(connection: Connection, workspace: Row, now: float, but: set[str]) -> None:
    for row in _own(connection, workspace):
        if row.id not in but:
            operations.finish(connection, row.id, operations.UNTIL_GONE, None, now)
            resources.remove_with_all_below(connection, row.id, now)


def _own(connection: Connection, workspace: Row) -> list[Row]:
    """What was made with the workspace, and not given to it."""
    found = [row for one in SUPPORTS.values() for row in resources.by_lookup(connection, one.kind, workspace.id)]
    return [row for row in found if not row.status.get("given")]


def _step(platform: Platform, row: Row) -> Step:
    """Only a delete comes here. What a workspace uses waits until that is gone: it could not work without."""
    if not row.deleting:
        return Step("Succeeded", row.status, done=True)
    with platform.database.read() as connection:
        used_by = resources.get(connection, row.lookup) if row.lookup else None
    if used_by is not None:  # whose end removes or wakes it
        return _wait(row, used_by, platform.clock())
    if row.kind == SUPPORTS["storageAccount"].kind:
        platform.blobs.remove(row.name.lower())
    return Step(row.state, row.status, gone=True)


def _wait(row: Row, used_by: Row, now: float) -> Step:
    """For the end of a workspace that is being deleted, or soon is; else the delete fails, and the row stays."""
    reason, left = f"waits for {used_by.name} to be deleted", row.changed_at + USER_S - now
    if used_by.deleting or left > 0:
        return Step(row.state, row.status, after=WAIT_S if used_by.deleting else left, reason=reason)
    one = next(one for one in SUPPORTS.values() if one.kind == row.kind)
    way_out = "Delete that first." if one.fixed else "Delete that first, or name another in its properties."
    message = f"The {one.title} '{row.name}' is used by {used_by.written}. {way_out}"

    def writes(connection: Connection) -> None:
        resources.undelete(connection, row)
        operations.finish(connection, row.id, operations.UNTIL_GONE, conflict(message, "id").body(), now)

    return Step("Succeeded", row.status, done=True, reason="the delete was given up", writes=writes)


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    """A PATCH or PUT of one that is there changes its tags and what else describes it. Raises ArmError(400, 405)."""
    if old is None:
        title = next(one.title for one in SUPPORTS.values() if one.kind == request.id.kind)
        message = f"A {title} is made with a workspace; name it in the workspace's properties."
        raise ArmError(405, "MethodNotAllowed", message)
    check_encryption(request.body.get("properties") or {}, old, "properties.encryption")
    return Admitted({**request.body, "location": old.spec.get("location")})


def made_at(row: Row) -> str:
    return timestamp(row.created_at)


def _vault(platform: Platform, row: Row) -> Document:
    sku = {"family": "A", "name": "standard"}
    return {"tenantId": TENANT, "sku": sku, "accessPolicies": [], "enableRbacAuthorization": True}


def _registry(platform: Platform, row: Row) -> Document:
    return {"creationDate": made_at(row), "adminUserEnabled": False}


def _insights(platform: Platform, row: Row) -> Document:
    return {
        "AppId": str(uuid.uuid5(uuid.NAMESPACE_URL, row.id)),
        "Application_Type": "web",
        "Flow_Type": "Bluefield",
        "CreationDate": made_at(row),
        "TenantId": ResourceId.parse(row.written).subscription,
    }


def kind(name: str, view: Callable[[Platform, Row], Document], **more: Any) -> Kind:
    """The kind of one of the four."""
    one = SUPPORTS[name]
    return Kind(
        path=one.type,
        title=one.title,
        provider=one.provider,
        tracked=True,
        admit=_admit,
        reconcile=_step,
        view=view,
        name_pattern=one.name_pattern,
        **more,
    )


KINDS = [kind("keyVault", _vault), kind("containerRegistry", _registry), kind("applicationInsights", _insights)]
