"""Tenant, subscription and resource groups: the frame that clients expect around a workspace; kept minimal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import GROUPS, RESOURCES, SUBSCRIPTIONS, TENANTS, Scope
from smalt.arm.kind import Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.kinds.workspaces import filters
from smalt.settings import REGION, TENANT
from smalt.store.resources import Row

NAME = "Smalt"  # of the tenant and of the subscription that is made with the platform


def _tenants(request: Request) -> tuple[int, Any]:
    """The one that there is. Clients read these four fields."""
    shown = {"id": f"/tenants/{TENANT}", "tenantId": TENANT, "displayName": NAME, "defaultDomain": "smalt.local"}
    return 200, {"value": [shown | {"tenantCategory": "Home", "domains": ["smalt.local"]}]}


def _locations(request: Request) -> tuple[int, Any]:
    shown = {
        "id": f"{request.id}/locations/{REGION}",
        "name": REGION,
        "type": "Region",
        "displayName": REGION.capitalize(),
        "regionalDisplayName": REGION.capitalize(),
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
    }
    return 200, {"value": [shown | {"subscriptionId": request.id.subscription}]}


def _admit_subscription(request: Request, connection: Connection, old: Row | None) -> Admitted:
    """Its tags may change, and nothing else."""
    if old is None or not request.patched or {**request.body, "tags": None} != {**old.spec, "tags": None}:
        message = "Subscriptions are made by the platform; use the one that `smalt env` names."
        raise ArmError(405, "MethodNotAllowed", message)
    return Admitted(request.body)


def _shape_subscription(platform: Platform, row: Row, document: Document) -> Document:
    """A subscription says all of itself beside `properties`."""
    own = {
        "subscriptionId": row.name,
        "displayName": row.properties.get("displayName") or NAME,
        "state": "Enabled",
        "tenantId": TENANT,
        "managedByTenants": [],
        "authorizationSource": "RoleBased",
    }
    return {**document, **own, "properties": {**document["properties"], "state": "Enabled", "tenantId": TENANT}}


def _admit_group(request: Request, connection: Connection, old: Row | None) -> Admitted:
    spec = dict(request.body)
    spec.setdefault("location", REGION)
    return Admitted(spec)


def _asked_for(row: Row, query: Mapping[str, str]) -> bool:
    return filters.keeps(filters.read(query, ("name", "location", *filters.TAGS)), row)


def _reconcile_group(platform: Platform, row: Row) -> Step:
    """Only a delete comes here, after everything in the group is gone."""
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    return Step("Succeeded", row.status, done=True)


def _keep(request: Request, connection: Connection, row: Row) -> None:
    raise ArmError(405, "MethodNotAllowed", "The subscription is the platform itself; it cannot be deleted.")


KINDS = [
    Kind(
        path=TENANTS,
        title="tenant",
        provider=RESOURCES,
        scopes=frozenset({Scope.TENANT}),
        verbs={"LIST": _tenants},
    ),
    Kind(
        path=SUBSCRIPTIONS,
        title="subscription",
        provider=RESOURCES,
        scopes=frozenset({Scope.TENANT}),
        admit=_admit_subscription,
        shape=_shape_subscription,
        check_delete=_keep,
        tracked=True,
    ),
    Kind(
        path="locations",
        title="location",
        provider=RESOURCES,
        scopes=frozenset({Scope.SUBSCRIPTION}),
        verbs={"LIST": _locations},
    ),
    Kind(
        path=GROUPS,
        title="resource group",
        provider=RESOURCES,
        scopes=frozenset({Scope.SUBSCRIPTION}),
        admit=_admit_group,
        list_filter=_asked_for,
        reconcile=_reconcile_group,
        name_pattern=r"^[\w\-.()]{0,89}[\w\-()]$",
        tracked=True,
    ),
]
