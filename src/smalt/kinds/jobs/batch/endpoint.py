"""Batch endpoints: a name, an address, and the deployment that requests go to which name none."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import OURS, Action, Admitted, Document, Kind, Request
from smalt.arm.listing import carries
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts, nearest
from smalt.kinds.jobs.batch import invocation
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

DEPLOYMENTS = "workspaces/batchendpoints/deployments"
_FIELD = "properties.defaults.deploymentName"


class Defaults(Properties):
    deployment_name: str | None = None


class EndpointProperties(Properties):
    auth_mode: str | None = None
    defaults: Defaults | None = None
    properties: Texts | None = None
    description: str | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    mode = str(properties.get("authMode") or "AADToken")
    if mode.lower().replace("_", "") != "aadtoken":
        raise invalid(
            f"properties.authMode: '{mode[:40]}' cannot be had for a batch endpoint; it is AADToken.",
            "properties.authMode",
        )
    default = str(part(properties, "defaults").get("deploymentName") or "")
    if default:
        default = _deployment(connection, request, default)
    properties |= {"authMode": "AADToken", "defaults": {"deploymentName": default} if default else {}}
    properties["properties"] = properties.get("properties") or {}
    spec = {**request.body, "properties": properties, "location": request.body.get("location") or "local"}
    spec.pop(OURS, None)
    return Admitted(spec)


def _deployment(connection: Connection, request: Request, name: str) -> str:
    """As it is written. Raises ArmError(400) where the endpoint has none of the name."""
    row = resources.get(connection, request.id.child("deployments", name).key)
    if row is not None:
        return row.name
    known = [key.rsplit("/", 1)[-1] for key in resources.children(connection, request.id.key, DEPLOYMENTS)]
    raise invalid(
        f"{_FIELD}: the endpoint has no deployment '{name[:80]}'.{nearest(name, known)} Create it first.", _FIELD
    )


def _view(platform: Platform, row: Row) -> Document:
    return {"scoringUri": f"{platform.settings.url}{row.written}/jobs"}


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    return carries(row.spec.get("tags"), query.get("tags"))


KIND = Kind(
    path="workspaces/batchEndpoints",
    tracked=True,
    title="batch endpoint",
    properties=EndpointProperties,
    admit=_admit,
    view=_view,
    actions={"jobs": Action(invocation.invoke)},
    list_filter=_filter,
    name_pattern=r"^[a-zA-Z][a-zA-Z0-9\-]{1,30}[a-zA-Z0-9]$",
)
