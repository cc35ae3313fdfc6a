"""ARM template deployments, as far as the SDK sends them: `workspaces.begin_create` deploys a 40 kB template.

Only its parameters matter here; the deployment writes the workspace's row and is done when that is. Any template can be
validated: `components.validate(…, skip_remote_validation=False)` sends one with a single resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.bounds import check_tags
from smalt.arm.envelope import spelled_identity, timestamp
from smalt.arm.errors import ArmError, conflict, invalid, not_found
from smalt.arm.ids import RESOURCES, ResourceId, workspace_id
from smalt.arm.kind import Action, Admitted, Document, Kind, Request, Step
from smalt.arm.locks import check_write
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, check_document, check_name
from smalt.kinds.workspaces import preflight, supporting
from smalt.kinds.workspaces.encryption import check_encryption
from smalt.kinds.workspaces.workspace import KIND as WORKSPACE
from smalt.kinds.workspaces.workspace import check_kind
from smalt.settings import REGION
from smalt.store import resources
from smalt.store.resources import Row

# Stored and shown, as a PUT of the workspace does it, without an effect here: property → parameter.
_KEPT = {
    "imageBuildCompute": "imageBuildCompute",
    "managedNetwork": "managedNetwork",
    "primaryUserAssignedIdentity": "primaryUserAssignedIdentity",
    "systemDatastoresAuthMode": "systemDatastoresAuthMode",
    "serverlessComputeSettings": "serverless_compute_settings",
}
_FLAGS = {  # the template has them as text
    "hbiWorkspace": "confidential_data",
    "enableDataIsolation": "enable_data_isolation",
    "allowRoleAssignmentOnRG": "allowRoleAssignmentOnRG",
    "provisionNetworkNow": "provisionNetworkNow",
}
_KEY = {"keyVaultArmId": "cmk_keyvault", "keyIdentifier": "resource_cmk_uri"}
_ENCRYPTED = {
    "cosmosDbResourceId": "encryption_cosmosdb_resourceid",
    "storageAccountResourceId": "encryption_storage_resourceid",
    "searchAccountResourceId": "encryption_search_resourceid",
}


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
            "This server deploys the template of azure-ai-ml's workspaces.begin_create only:"
            " the parameter 'workspaceName' is missing. Create other resources with their own PUT.",
            "properties.parameters.workspaceName",
        )
    check_name(WORKSPACE, name)
    check_kind(_parameter(properties, "kind"), "properties.parameters.kind")
    target = workspace_id(request.id.subscription, request.id.group, name)
    check_write(connection, target)
    body = check_document(WORKSPACE, _workspace(properties, str(target.parent.parent)))
    spec = {**request.body, "properties": {key: properties[key] for key in properties if key != "template"}}
    found = resources.get(connection, target.key)
    check_tags(body, found.spec if found else None)
    check_encryption(body["properties"], found, "properties.parameters.encryption_status")
    supporting.accept(replace(request, id=target), connection, found, body["properties"])
    if found is not None and found.deleting:
        raise conflict(
            f"The workspace '{name}' is being deleted. Wait for its end, and create it again.",
            "properties.parameters.workspaceName",
        )

    def writes(connection: Connection) -> None:
        now, by = request.now, request.principal.name
        supporting.claim_account(connection, target, body["properties"], now, by)
        if found is None:
            resources.insert(
                connection,
                key=target.key,
                written=str(target),
                kind=target.kind,
                parent=target.parent.key,
                name=name,
                spec=body,
                status={},
                state="Creating",
                now=now,
                by=by,
                due_at=now,
            )
        else:
            resources.replace_spec(connection, found, body, state=found.state, now=now, by=by, due=True)

    return Admitted(spec, state="Creating", due=True, writes=writes)


def _workspace(properties: Document, subscription: str) -> Document:
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
            **_given(properties, _KEPT),
            **{name: str(text).lower() == "true" for name, text in _given(properties, _FLAGS).items()},
            **_encryption(properties),
            **_existing(properties, subscription),
        },
    }


def _given(properties: Document, names: Mapping[str, str]) -> Document:
    return {name: value for name, parameter in names.items() if (value := _parameter(properties, parameter))}


def _encryption(properties: Document) -> Document:
    if str(_parameter(properties, "encryption_status")).lower() != "enabled":
        return {}
    key = {"status": "Enabled", "keyVaultProperties": _given(properties, _KEY)}
    return {"encryption": {**key, **_given(properties, _ENCRYPTED)}}


def _existing(properties: Document, subscription: str) -> dict[str, str]:
    """The resources that the template shall use and not make: option `existing`, with name and group."""
    found: dict[str, str] = {}
    for name, one in supporting.SUPPORTS.items():
        part = {key: _parameter(properties, f"{name}{key}") for key in ("Option", "Name", "ResourceGroupName")}
        if part["Option"] == "existing":
            other = _parameter(properties, f"{name}SubscriptionId")  # of a storage account
            group = f"{f'/subscriptions/{other}' if other else subscription}/resourceGroups/{part['ResourceGroupName']}"
            found[name] = f"{group}/providers/{one.provider}/{one.type}/{part['Name']}"
    return found


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


def _validate(request: Request, _row: Row | None) -> tuple[int, Any]:
    """Whether all that the deployment would PUT would be taken now.

    Raises ArmError(400) with what would not, and why.
    """
    check_name(KIND, request.id.name)
    with request.platform.database.read() as connection:
        if resources.get(connection, request.id.parent.key) is None:
            error = not_found("Resource group", request.id.group)
            raise ArmError(404, "ResourceGroupNotFound", error.message, target=request.id.group)
    properties = check_document(KIND, request.body)["properties"]
    name = _parameter(properties, "workspaceName")
    planned = [request] if name else preflight.planned(request, properties)
    assert request.rehearse is not None
    outcomes = zip(planned, request.rehearse(planned), strict=True)
    faults = [fault for one, error in outcomes if error is not None for fault in _faults(one.id, error)]
    if faults:
        message = f"The template deployment '{request.id.name}' is not valid according to the validation procedure. "
        message += " ".join(one.message for one in faults[:10])
        raise ArmError(400, "InvalidTemplateDeployment", message, request.id.name, faults)
    validated = [workspace_id(request.id.subscription, request.id.group, name)] if name else [one.id for one in planned]
    return 200, {
        "id": str(request.id),
        "name": request.id.name,
        "type": "Microsoft.Resources/deployments",
        "properties": {
            **{key: value for key, value in properties.items() if key != "template"},
            "provisioningState": "Succeeded",
            "timestamp": timestamp(request.now),
            "duration": "PT0S",
            "dependencies": [],
            "validatedResources": [{"id": str(one)} for one in validated],
        },
    }


def _faults(id_: ResourceId, error: ArmError) -> list[ArmError]:
    """One for each wrong field, each with the resource that it is of; clients read a `target` of each."""
    resource = f"{id_.provider}/{'/'.join(type_ for type_, _ in id_.path)} '{'/'.join(name for _, name in id_.path)}'"
    return [
        ArmError(one.status, one.code, f"{resource[:300]}: {one.message}", one.target or "name")
        for one in error.details or (error,)
    ]


KIND = Kind(
    path="deployments",
    title="template deployment",
    provider=RESOURCES,
    properties=DeploymentProperties,
    admit=_admit,
    reconcile=_reconcile,
    actions={"operations": Action(_operations, method="GET"), "validate": Action(_validate, needs_row=False)},
    long_running=True,
)
