"""Subscriptions and resource groups: the frame that clients expect around a workspace; kept minimal."""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import GROUPS, RESOURCES, SUBSCRIPTIONS, Scope
from smalt.arm.kind import Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.settings import REGION, TENANT
from smalt.store.resources import Row


def _admit_subscription(request: Request, connection: Connection, old: Row | None) -> Admitted:
    raise ArmError(
        405, "MethodNotAllowed", "Subscriptions are made by the platform; use the one that `smalt env` names."
    )


def _view_subscription(platform: Platform, row: Row) -> Document:
    return {"state": "Enabled", "tenantId": TENANT}


def _admit_group(request: Request, connection: Connection, old: Row | None) -> Admitted:
    spec = dict(request.body)
    spec.setdefault("location", REGION)
    return Admitted(spec)


def _reconcile_group(platform: Platform, row: Row) -> Step:
    """Only a delete comes here, after everything in the group is gone."""
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    return Step("Succeeded", row.status, done=True)


def _keep(request: Request, connection: Connection, row: Row) -> None:
    raise ArmError(405, "MethodNotAllowed", "The subscription is the platform itself; it cannot be deleted.")


KINDS = [
    Kind(
        path=SUBSCRIPTIONS,
        title="subscription",
        provider=RESOURCES,
        scopes=frozenset({Scope.TENANT}),
        admit=_admit_subscription,
        view=_view_subscription,
        check_delete=_keep,
    ),
    Kind(
        path=GROUPS,
        title="resource group",
        provider=RESOURCES,
        scopes=frozenset({Scope.SUBSCRIPTION}),
        admit=_admit_group,
        reconcile=_reconcile_group,
        name_pattern=r"^[\w\-.()]{0,89}[\w\-()]$",
    ),
]
