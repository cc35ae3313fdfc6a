"""Workspaces and what belongs to them: computes, datastores, endpoints, deployments, schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .common import Fields, Unshaped, Where, arm, creation_context, identity, lowered, printed, seconds, snake
from .jobs import job

_STORES = {"AzureBlob": "azure_blob", "AzureFile": "azure_file", "AzureDataLakeGen2": "azure_data_lake_gen2",
           "AzureDataLakeGen1": "azure_data_lake_gen1"}  # fmt: skip
_MINUTES = re.compile("PT([0-9]+)M")
_INSTANCE = ("enableNodePublicIp", "enableRootAccess", "releaseQuotaOnStop")


def compute(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    outer = Fields(document["properties"])
    kind = outer.take("computeType")
    outer.drop("disableLocalAuth", "computeLocation", "isAttachedCompute", "createdOn", "modifiedOn")
    if kind not in ("AmlCompute", "ComputeInstance") or outer.take("provisioningErrors"):
        raise Unshaped(f"a compute of type {kind}")
    left = Fields(outer.take("properties"))
    shown = printed(
        name=document["name"],
        id=document["id"],
        type=kind.lower(),
        location=document.get("location"),
        description=outer.take("description"),
        provisioning_state=outer.take("provisioningState"),
        tags=document.get("tags"),
        identity=identity(document.get("identity")),
        size=left.take("vmSize"),
        **(_cluster(left) if kind == "AmlCompute" else _instance(left)),
    )
    outer.end()
    left.end()
    return shown


def _cluster(left: Fields) -> dict[str, Any]:
    scale, priority = left.take("scaleSettings") or {}, left.take("vmPriority")
    left.drop(
        "osType",
        "allocationState",
        "allocationStateTransitionTime",
        "currentNodeCount",
        "targetNodeCount",
        "nodeStateCounts",
        "errors",
        "isolatedNetwork",
    )
    return printed(
        tier="low_priority" if priority == "LowPriority" else lowered(priority),
        min_instances=scale.get("minNodeCount"),
        max_instances=scale.get("maxNodeCount"),
        idle_time_before_scale_down=seconds(scale.get("nodeIdleTimeBeforeScaleDown")),
        ssh_public_access_enabled=left.take("remoteLoginPortPublicAccess") == "Enabled",
        network_settings={},
        enable_node_public_ip=left.take("enableNodePublicIp"),
    )


def _instance(left: Fields) -> dict[str, Any]:
    left.drop("applicationSharingPolicy", "computeInstanceAuthorizationType", "createdBy", "errors")
    host, idle = (left.take("connectivityEndpoints") or {}).get("publicIpAddress"), left.take("idleTimeBeforeShutdown")
    minutes = _MINUTES.match(idle or "")
    return printed(
        state=left.take("state"),
        services=left.take("applications") or None,
        network_settings={"public_ip_address": host} if host else None,
        idle_time_before_shutdown=idle,
        idle_time_before_shutdown_minutes=int(minutes[1]) if minutes else None,
        last_operation=left.take("lastOperation"),
        enable_sso=left.take("enableSSO"),
        enable_os_patching=left.take("enableOSPatching"),
        **left.snake(*_INSTANCE),
    )


def datastore(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    kind = _STORES.get(left.take("datastoreType", ""))
    if kind is None:
        raise Unshaped("a datastore of another type")
    left.drop("provisioningState", "isDefault", "subscriptionId", "resourceGroup", "serviceDataAccessAuthIdentity")
    shown = printed(
        name=document["name"],
        id=document["id"],
        type=kind,
        description=left.take("description"),
        tags=left.take("tags", {}),
        credentials=_credentials(left.take("credentials")),
        **left.snake(
            "accountName", "endpoint", "protocol", "containerName", "fileShareName", "filesystem", "storeName"
        ),
    )
    left.end()
    return shown


def _credentials(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Without secrets: those are shown nowhere."""
    if document is None or document.get("credentialsType") == "None":
        return None
    left = Fields(document)
    if left.take("credentialsType") not in ("Sas", "AccountKey", "ServicePrincipal", "Certificate"):
        raise Unshaped("credentials of another type")
    shown = left.snake("authorityUrl", "resourceUrl", "tenantId", "clientId", "thumbprint")
    left.end()
    return shown


def workspace(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    left.drop("provisioningState", "workspaceId", "tenantId")
    shown = printed(
        name=document["name"],
        id=document["id"],
        location=document.get("location"),
        resource_group=document["id"].split("/")[4],
        tags=document.get("tags") or {},
        identity=identity(document.get("identity")),
        display_name=left.take("friendlyName"),
        mlflow_tracking_uri=left.take("mlFlowTrackingUri"),
        **left.snake(
            "description",
            "discoveryUrl",
            "storageAccount",
            "containerRegistry",
            "keyVault",
            "applicationInsights",
            "publicNetworkAccess",
            "imageBuildCompute",
        ),
    )
    left.end()
    return shown


def registry(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    left.drop("provisioningState", "managedResourceGroupTags", "registryPrivateEndpointConnections", "description")
    regions = left.take("regionDetails", [])
    shown = printed(
        name=document["name"],
        id=document["id"],
        tags=document.get("tags") or {},
        location=document.get("location"),
        public_network_access=left.take("publicNetworkAccess"),
        replication_locations=[_region(one) for one in regions],
        container_registry=_container_registry(regions[0]) if regions else None,
        identity=identity(document.get("identity")),
        discovery_url=left.take("discoveryUrl"),
    )
    left.end()
    return shown


def _region(document: Mapping[str, Any]) -> dict[str, Any]:
    left = Fields(document)
    accounts = [one.get("systemCreatedStorageAccount") for one in left.take("storageAccountDetails", [])]
    if not accounts or None in accounts:
        raise Unshaped("a registry with storage of its user's")
    left.drop("acrDetails")
    ids = [one["armResourceId"]["resourceId"] for one in accounts]
    storage = printed(
        storage_account_hns=accounts[0]["storageAccountHnsEnabled"],
        storage_account_type=accounts[0]["storageAccountType"].lower(),
        arm_resource_id=ids[0],
        replicated_ids=ids if len(ids) > 1 else None,
        replication_count=len(ids),
    )
    shown = printed(location=left.take("location"), storage_config=storage)
    left.end()
    return shown


def _container_registry(region: Mapping[str, Any]) -> dict[str, Any] | None:
    """That of the first location is said to be of all."""
    found = region.get("acrDetails")
    if not found:
        return None
    left = Fields(found[0])
    made = Fields(left.take("systemCreatedAcrAccount"))
    shown = printed(acr_account_sku=lowered(made.take("acrAccountSku")))
    left.end()
    made.end()
    return shown


def online_endpoint(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    system = document.get("systemData") or {}
    mode = left.take("authMode")
    shown = printed(
        name=document["name"],
        id=document["id"],
        location=document.get("location"),
        tags=document.get("tags") or {},
        identity=identity(document.get("identity")),
        description=left.take("description"),
        provisioning_state=left.take("provisioningState"),
        properties={
            **left.take("properties", {}),
            **printed(
                createdBy=system.get("createdBy"),
                createdAt=_moment(system.get("createdAt")),
                lastModifiedAt=_moment(system.get("lastModifiedAt")),
            ),
        },
        auth_mode={"AMLToken": "aml_token", "AADToken": "aad_token"}.get(mode) or lowered(mode),
        scoring_uri=left.take("scoringUri"),
        openapi_uri=left.take("swaggerUri"),
        traffic=left.take("traffic", {}),
        mirror_traffic=left.take("mirrorTraffic", {}),
        public_network_access=lowered(left.take("publicNetworkAccess")),
    )
    left.end()
    return shown


def _moment(text: str | None) -> str | None:
    return datetime.fromisoformat(text).strftime("%Y-%m-%dT%H:%M:%S.%f%z") if text else None


def online_deployment(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    if left.take("endpointComputeType") != "Managed":
        raise Unshaped("a deployment of another type")
    scale, code = left.take("scaleSettings") or {}, left.take("codeConfiguration")
    if scale.get("scaleType", "Default") != "Default":
        raise Unshaped("scale settings of another type")
    shown = printed(
        name=document["name"],
        id=document["id"],
        endpoint_name=document["id"].split("/")[-3],
        type="managed",
        creation_context=creation_context(document.get("systemData")),
        tags=document.get("tags") or {},
        instance_count=(document.get("sku") or {}).get("capacity"),
        scale_settings={"type": "default"} if scale else None,
        description=left.take("description"),
        properties=left.take("properties", {}),
        provisioning_state=left.take("provisioningState"),
        model=arm(left.take("model")),
        environment=arm(left.take("environmentId")),
        environment_variables=left.take("environmentVariables", {}),
        code_configuration=printed(code=code.get("codeId"), scoring_script=code.get("scoringScript")) if code else None,
        app_insights_enabled=left.take("appInsightsEnabled"),
        egress_public_network_access=lowered(left.take("egressPublicNetworkAccess")),
        request_settings=_settings(left.take("requestSettings"), _REQUESTS),
        liveness_probe=_settings(left.take("livenessProbe"), _PROBES),
        readiness_probe=_settings(left.take("readinessProbe"), _PROBES),
        **left.snake("instanceType", "modelMountPath"),
    )
    left.end()
    return shown


_REQUESTS = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": 1000, "maxQueueWait": 1000}
_PROBES = {"period": 1, "initialDelay": 1, "timeout": 1, "successThreshold": 1, "failureThreshold": 1}


def _settings(document: Mapping[str, Any] | None, units: Mapping[str, int]) -> dict[str, Any] | None:
    """Times become numbers: of requests in milliseconds (1000 for each second), of probes in seconds."""
    if document is None:
        return None
    shown: dict[str, Any] = {}
    for name, value in document.items():
        if name not in units:
            raise Unshaped(name)
        if value is not None:
            time = isinstance(value, str)
            shown[snake(name)] = (seconds(value) or 0) * units[name] if time else value
    return shown


def batch_endpoint(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    default = (left.take("defaults") or {}).get("deploymentName")
    shown = printed(
        name=document["name"],
        id=document["id"],
        location=document.get("location"),
        tags=document.get("tags") or {},
        description=left.take("description"),
        provisioning_state=left.take("provisioningState"),
        properties=left.take("properties", {}),
        auth_mode="aad_token" if left.take("authMode") == "AADToken" else None,
        scoring_uri=left.take("scoringUri"),
        defaults={"deployment_name": default} if default else {},
    )
    left.end()
    return shown


_ACTIONS = {"AppendRow": "append_row", "SummaryOnly": "summary_only"}


def batch_deployment(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    code, retries = left.take("codeConfiguration"), left.take("retrySettings") or {}
    action, file = _ACTIONS.get(left.take("outputAction", "")), left.take("outputFileName")
    nodes = Fields(left.take("resources"))
    if action is None:
        raise Unshaped("a deployment of a pipeline component")
    shown = printed(
        name=document["name"],
        id=document["id"],
        endpoint_name=document["id"].split("/")[-3],
        creation_context=creation_context(document.get("systemData")),
        tags=document.get("tags") or {},
        description=left.take("description"),
        properties=left.take("properties", {}),
        provisioning_state=left.take("provisioningState"),
        model=arm((left.take("model") or {}).get("assetId")),
        environment=arm((left.take("environmentId") or "").removeprefix("azureml:")),
        environment_variables=left.take("environmentVariables", {}),
        code_configuration=printed(code=code.get("codeId"), scoring_script=code.get("scoringScript")) if code else None,
        compute=arm((left.take("compute") or "").removeprefix("azureml:")),
        retry_settings=printed(max_retries=retries.get("maxRetries"), timeout=seconds(retries.get("timeout"))),
        output_action=action,
        output_file_name=file if action == "append_row" else None,
        logging_level=lowered(left.take("loggingLevel")),
        resources={"properties": {}, **nodes.snake("instanceCount", "instanceType", "properties")},
        **left.snake("errorThreshold", "miniBatchSize", "maxConcurrencyPerInstance"),
    )
    left.end()
    nodes.end()
    return shown


def schedule(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    action = Fields(left.take("action"))
    if action.take("actionType") != "CreateJob":
        raise Unshaped("a schedule of something else than jobs")
    left.drop("nextRunTime", "nextRunTimes", "lastRun")
    tags, properties = left.take("tags"), left.take("properties")
    shown = printed(
        name=document["name"],
        creation_context=creation_context(document.get("systemData")),
        display_name=left.take("displayName"),
        description=left.take("description"),
        tags=tags or None,
        properties=properties or None,
        is_enabled=left.take("isEnabled"),
        provisioning_state=left.take("provisioningState"),
        trigger=_trigger(left.take("trigger")),
        create_job=_created(action.take("jobDefinition"), where),
    )
    left.end()
    action.end()
    return shown


def _trigger(document: Mapping[str, Any] | None) -> dict[str, Any]:
    left = Fields(document)
    pattern = Fields(left.take("schedule"))
    shown = printed(
        type=lowered(left.take("triggerType")),
        frequency=lowered(left.take("frequency")),
        **left.snake("startTime", "endTime", "timeZone", "interval", "expression"),
    )
    week_days = pattern.take("weekDays")
    times = pattern.snake("hours", "minutes", "monthDays")
    if week_days:
        times["week_days"] = [one.lower() for one in week_days]
    if times:
        shown["schedule"] = times
    left.end()
    pattern.end()
    return shown


def _created(definition: Mapping[str, Any] | None, where: Where) -> dict[str, Any]:
    """The job of a schedule, whose references are ids in full, and which has no name of its own."""
    if definition is None:
        raise Unshaped("a schedule without a job")
    shown = job({"id": "", "name": "", "properties": definition}, Where("", where.tenant))
    for name in ("name", "id", "services", "status"):
        shown.pop(name, None)
    for name in ("tags", "properties"):
        if not shown.get(name):
            shown.pop(name, None)
    return shown
