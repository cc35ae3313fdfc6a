"""ARM template deployments, as far as the SDK sends them: `workspaces.begin_create` deploys a 40 kB template.

Only its parameters matter here; the deployment writes the workspace's row and is done when that is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from smalt.arm.bounds import check_tags
from smalt.arm.envelope import spelled_identity
from smalt.arm.errors import conflict, invalid
from smalt.arm.ids import ResourceId, workspace_id
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, check_document, check_name
from smalt.kinds.workspace import KIND as WORKSPACE
from smalt.kinds.workspace import check_kind
from smalt.settings import REGION
from smalt.store import resources
from smalt.store.resources import Row

_KEPT = ("imageBuildCompute", "managedNetwork", "primaryUserAssignedIdentity", "systemDatastoresAuthMode")


class DeploymentProperties(Properties):
    parameters: dict[str, Any] | None = None
    template: dict[str, Any] | None = None
    mode: str | None = None


def _parameter(row_properties: Document, name: str) -> Any:
    value = (row_properties.get("parameters") or {}).get(name)
    return value.get("value") if isinstance(value, dict) else value


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = request.body["properties"]
    name = _parameter(properties, "workspaceName")
    if not isinstance(name, str) or not name:
        raise invalid(
            "This server deploys the template of azure-ai-ml's workspaces.begin_create only: the parameter 'workspaceName'"
            " is missing. Create other resources with their own PUT.",
            "properties.parameters.workspaceName",
        )
    check_name(WORKSPACE, name)
    check_kind(_parameter(properties, "kind"), "properties.parameters.kind")
    target = workspace_id(request.id.subscription, request.id.group, name)
    body = check_document(WORKSPACE, _workspace(properties))
    spec = {**request.body, "properties": {key: properties[key] for key in properties if key != "template"}}
    found = resources.get(connection, target.key)
    check_tags(body, found.spec if found else None)
    if found is not None and found.deleting:
        raise conflict(
            f"The workspace '{name}' is being deleted. Wait for its end, and create it again.",
            "properties.parameters.workspaceName",
        )

    def writes(connection: Connection) -> None:
        now, by = request.now, request.principal.name
        if found is None:
            resources.insert(
                connection, key=target.key, written=str(target), kind=target.kind, parent=target.parent.key, name=name,
                spec=body, status={}, state="Creating", now=now, by=by, due_at=now,
            )  # fmt: skip
        else:
            resources.replace_spec(connection, found, body, state=found.state, now=now, by=by, due=True)

    return Admitted(spec, state="Creating", due=True, writes=writes)


def _workspace(properties: Document) -> Document:
    identity = _parameter(properties, "identity")
    tags = _parameter(properties, "tagValues")
    return {
        "location": _parameter(properties, "location") or REGION,
        "tags": tags if isinstance(tags, dict) else {},
        "kind": _parameter(properties, "kind") or "Default",
        "identity": spelled_identity(identity) if isinstance(identity, dict) else {"type": "SystemAssigned"},
        "properties": {
            "friendlyName": _parameter(properties, "friendlyName") or "",
            "description": _parameter(properties, "description") or "",
            "publicNetworkAccess": _parameter(properties, "publicNetworkAccess") or "Enabled",
            # stored and shown, without an effect here
            **{name: value for name in _KEPT if (value := _parameter(properties, name))},
        },
    }


def _reconcile(platform: Platform, row: Row) -> Step:
    if row.deleting:
        return Step(row.state, row.status, gone=True)
    id_ = ResourceId.parse(row.written)
    target = workspace_id(id_.subscription, id_.group, _parameter(row.properties, "workspaceName"))
    with platform.database.read() as connection:
        workspace = resources.get(connection, target.key)
    if workspace is not None and workspace.state == "Creating":
        return Step(
            "Creating",
            row.status,
            after=30,
            writes=lambda connection: resources.wait_for(connection, row.id, [target.key], platform.clock()),
        )
    if workspace is None or workspace.state == "Failed":
        error = (workspace.status.get("error") if workspace else None) or {
            "code": "DeploymentFailed",
            "message": "gone",
        }
        return Step("Failed", {**row.status, "error": error}, done=True, error=error)
    return Step("Succeeded", {**row.status, "properties": {"outputResources": [{"id": workspace.written}]}}, done=True)


def _operations(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    id_ = ResourceId.parse(row.written)
    target = workspace_id(id_.subscription, id_.group, _parameter(row.properties, "workspaceName"))
    resource_type = "Microsoft.MachineLearningServices/workspaces"
    properties = {
        "provisioningState": row.state,
        "provisioningOperation": "Create",
        "statusCode": "OK",
        "targetResource": {"id": str(target), "resourceType": resource_type, "resourceName": target.name},
    }
    return 200, {"value": [{"id": f"{row.written}/operations/1", "operationId": "1", "properties": properties}]}


KIND = Kind(
    path="deployments",
    title="template deployment",
    provider="Microsoft.Resources",
    properties=DeploymentProperties,
    admit=_admit,
    reconcile=_reconcile,
    actions={"operations": Action(_operations, method="GET")},
    long_running=True,
)
