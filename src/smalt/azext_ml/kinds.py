"""The kinds of resources that commands are about: where they are, how they are printed, who makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .connection import Connection
from .shapes import assets, jobs, resources
from .shapes.common import Unshaped, Where

Shape = Callable[[Mapping[str, Any], Where], dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """`collection` is its path below the workspace, `loader` and `operations` are names of azure-ai-ml's.

    `edits` says where the server's document has what `update --set` may name; a key that ends with a dot is a mapping.
    """

    noun: str
    collection: str
    loader: str
    operations: str
    shape: Shape | None = None
    versioned: bool = False
    edits: Mapping[str, str] = field(default_factory=dict[str, str])

    def path(self, name: str, version: str | None = None) -> str:
        below = f"{self.collection}/{quote(name, safe='')}"
        return f"{below}/versions/{quote(version, safe='')}" if version else below

    def printed(self, connection: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
        """As the SDK prints it; by the SDK itself where only it knows how."""
        try:
            if self.shape is not None:
                return self.shape(document, Where(connection.workspace, connection.tenant))
        except Unshaped as unknown:
            connection.notify(f"azure-ai-ml is asked how to print {unknown}")
        from . import sdk

        return sdk.printed(connection, self.operations, document)


_ASSET = {"description": "properties.description", "tags.": "properties.tags"}
_TOP = {"description": "properties.description", "tags.": "tags"}

JOB = Kind(
    "job", "jobs", "load_job", "jobs", jobs.job,
    edits={**_ASSET, "display_name": "properties.displayName", "properties.": "properties.properties"},
)  # fmt: skip
DATA = Kind("data asset", "data", "load_data", "data", assets.data, True, _ASSET)
ENVIRONMENT = Kind(
    "environment", "environments", "load_environment", "environments", assets.environment, True, _ASSET
)  # fmt: skip
MODEL = Kind(
    "model", "models", "load_model", "models", assets.model, True,
    {**_ASSET, "properties.": "properties.properties", "stage": "properties.stage"},
)  # fmt: skip
COMPONENT = Kind("component", "components", "load_component", "components", assets.component, True, _ASSET)
COMPUTE = Kind(
    "compute", "computes", "load_compute", "compute", resources.compute,
    edits={
        **_TOP,
        "min_instances": "properties.properties.scaleSettings.minNodeCount",
        "max_instances": "properties.properties.scaleSettings.maxNodeCount",
        "idle_time_before_scale_down": "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown",
    },
)  # fmt: skip
DATASTORE = Kind(
    "datastore", "datastores", "load_datastore", "datastores", resources.datastore,
    edits={"description": "properties.description", "tags.": "properties.tags"},
)  # fmt: skip
SCHEDULE = Kind(
    "schedule", "schedules", "load_schedule", "schedules", resources.schedule,
    edits={
        **_ASSET,
        "display_name": "properties.displayName",
        "trigger.expression": "properties.trigger.expression",
        "trigger.frequency": "properties.trigger.frequency",
        "trigger.interval": "properties.trigger.interval",
        "trigger.time_zone": "properties.trigger.timeZone",
        "trigger.start_time": "properties.trigger.startTime",
        "trigger.end_time": "properties.trigger.endTime",
    },
)  # fmt: skip
ONLINE_ENDPOINT = Kind(
    "online endpoint", "onlineEndpoints", "load_online_endpoint", "online_endpoints", resources.online_endpoint,
    edits={
        **_TOP,
        "traffic.": "properties.traffic",
        "mirror_traffic.": "properties.mirrorTraffic",
        "properties.": "properties.properties",
    },
)  # fmt: skip
ONLINE_DEPLOYMENT = Kind(
    "online deployment", "onlineEndpoints/{endpoint}/deployments", "load_online_deployment", "online_deployments",
    resources.online_deployment,
    edits={
        **_TOP,
        "instance_count": "sku.capacity",
        "instance_type": "properties.instanceType",
        "environment_variables.": "properties.environmentVariables",
        "properties.": "properties.properties",
        "app_insights_enabled": "properties.appInsightsEnabled",
    },
)  # fmt: skip
BATCH_ENDPOINT = Kind(
    "batch endpoint", "batchEndpoints", "load_batch_endpoint", "batch_endpoints", resources.batch_endpoint,
    edits={
        **_TOP,
        "defaults.": "properties.defaults",
        "defaults.deployment_name": "properties.defaults.deploymentName",
        "properties.": "properties.properties",
    },
)  # fmt: skip
BATCH_DEPLOYMENT = Kind(
    "batch deployment", "batchEndpoints/{endpoint}/deployments", "load_batch_deployment", "batch_deployments",
    resources.batch_deployment,
    edits={
        **_TOP,
        "compute": "properties.compute",
        "environment_variables.": "properties.environmentVariables",
        "error_threshold": "properties.errorThreshold",
        "logging_level": "properties.loggingLevel",
        "max_concurrency_per_instance": "properties.maxConcurrencyPerInstance",
        "mini_batch_size": "properties.miniBatchSize",
        "output_file_name": "properties.outputFileName",
        "properties.": "properties.properties",
        "resources.instance_count": "properties.resources.instanceCount",
        "retry_settings.max_retries": "properties.retrySettings.maxRetries",
    },
)  # fmt: skip
WORKSPACE = Kind(
    "workspace", "", "load_workspace", "workspaces", resources.workspace,
    edits={
        **_TOP,
        "display_name": "properties.friendlyName",
        "public_network_access": "properties.publicNetworkAccess",
        "image_build_compute": "properties.imageBuildCompute",
    },
)  # fmt: skip
REGISTRY = Kind("registry", "", "load_registry", "registries", resources.registry, edits={"tags.": "tags"})
