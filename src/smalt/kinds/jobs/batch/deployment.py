"""Batch deployments: a model with or without a scoring script, or a pipeline component, and how its jobs run.

A deployment runs nothing by itself. When it is taken, the job that a request would make is taken too, with a stand-in
for the data, and not kept: so what can be known to be wrong is said then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts
from smalt.kinds.assets import model_package, references
from smalt.kinds.assets.registries import shown_id
from smalt.kinds.jobs import admission
from smalt.kinds.jobs.batch import invocation, scoring
from smalt.kinds.jobs.fields import moved
from smalt.kinds.jobs.parallel.settings import is_file_name
from smalt.kinds.jobs.pipelines.components import component
from smalt.kinds.jobs.pipelines.pipeline_step import PIPELINE
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

_CONFIGURATION = "properties.deploymentConfiguration"
_ROWS, _SUMMARY = "AppendRow", "SummaryOnly"
_ACTIONS = {"appendrow": _ROWS, "summaryonly": _SUMMARY}
_DEFAULTS: Document = {
    "errorThreshold": -1, "loggingLevel": "Info", "maxConcurrencyPerInstance": 1, "miniBatchSize": 10,
    "outputFileName": "predictions.csv",
}  # fmt: skip


def _duration(given: str) -> str:
    try:
        seconds = seconds_of(given, 0)
    except ArmError:
        seconds = 0
    if not 0 < seconds <= 259_200:
        raise PydanticCustomError("duration", "this is no ISO 8601 duration from PT1S to P3D, such as PT30S")
    return given


class RetrySettings(Properties):
    max_retries: int | None = Field(None, ge=0, le=2**31 - 1)
    timeout: Annotated[str, AfterValidator(_duration)] | None = None


class CodeConfiguration(Properties):
    code_id: str = Field(min_length=1)
    scoring_script: str = Field(min_length=1)


class ComponentReference(Properties):
    reference_type: str | None = None
    asset_id: str | None = None


class Configuration(Properties):
    deployment_configuration_type: str | None = None
    component_id: ComponentReference | None = None
    settings: dict[str, Any] | None = None
    description: str | None = None
    tags: Texts | None = None


class DeploymentProperties(Properties):
    model: dict[str, Any] | None = None
    code_configuration: CodeConfiguration | None = None
    environment_id: str | None = None
    environment_variables: Texts | None = None
    compute: str | None = None
    resources: dict[str, Any] | None = None
    deployment_configuration: Configuration | None = None
    output_action: str | None = None
    output_file_name: str | None = None
    mini_batch_size: int | None = Field(None, ge=1, le=2**31 - 1)
    max_concurrency_per_instance: int | None = Field(None, ge=1, le=1000)
    error_threshold: int | None = Field(None, ge=-1, le=2**31 - 1)
    retry_settings: RetrySettings | None = None
    logging_level: str | None = None
    description: str | None = None
    properties: Texts | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = {name: value for name, value in request.body["properties"].items() if value is not None}
    spec = {**request.body, "location": request.body.get("location") or "local"}
    spec.pop(OURS, None)
    if properties.get("deploymentConfiguration"):
        admitted = Admitted({**spec, "properties": _of_pipeline(request, connection, properties)})
    else:
        admitted = _of_model(request, connection, properties, spec)
    return replace(admitted, state="Updating" if old else "Creating", due=True)


def _of_pipeline(request: Request, connection: Connection, properties: Document) -> Document:
    configuration = part(properties, "deploymentConfiguration")
    type_ = str(configuration.get("deploymentConfigurationType") or "PipelineComponent")
    if type_ != "PipelineComponent":
        field = f"{_CONFIGURATION}.deploymentConfigurationType"
        raise invalid(f"{field}: '{type_[:80]}' is not known; it is PipelineComponent.", field)
    field, workspace = f"{_CONFIGURATION}.componentId", request.id.workspace
    found = component(connection, workspace, part(configuration, "componentId").get("assetId"), f"{field}.assetId")
    if found.type != PIPELINE:
        raise invalid(f"{field}: {found.id} is a {found.type}, and no pipeline.", field)
    said = invocation.settings_of(configuration)
    settings = Settings.of({"settings": said})
    if settings.compute:
        try:
            admission.compute(request.platform, connection, workspace, {"computeId": settings.compute}, 1)
        except ArmError as error:
            raise moved(error, "properties.computeId", f"{_CONFIGURATION}.settings.default_compute") from None
    reference = {"referenceType": "Id", "assetId": shown_id(found.id)}
    whole = {"deploymentConfigurationType": type_, **configuration, "componentId": reference, "settings": said}
    invocation.rehearse_component(request, connection, whole, found)
    return {**_DEFAULTS, **properties, "deploymentConfiguration": whole}


def _of_model(request: Request, connection: Connection, properties: Document, spec: Document) -> Admitted:
    workspace, platform = request.id.workspace, request.platform
    properties = _unpacked(connection, workspace, properties)
    properties = {**_DEFAULTS, **properties, "outputAction": _action(properties.get("outputAction"))}
    retries = {name: value for name, value in part(properties, "retrySettings").items() if value is not None}
    properties["retrySettings"] = {"maxRetries": 3, "timeout": "PT30S", **retries}
    properties["resources"] = {"instanceCount": 1, **part(properties, "resources")}
    properties["environmentVariables"] = properties.get("environmentVariables") or {}
    if not is_file_name(properties["outputFileName"]):
        field = "properties.outputFileName"
        raise invalid(f"{field}: '{properties['outputFileName'][:80]}' is no name of a file.", field)
    model = _model(connection, request, properties)
    script = properties.get("codeConfiguration")
    if script is None and (model is None or model.properties.get("modelType") != "mlflow_model"):
        field = "properties.codeConfiguration"
        raise invalid(f"{field}: a scoring script is needed unless the model is an mlflow_model.", field)
    if script is not None and not properties.get("environmentId"):
        field = "properties.environmentId"
        raise invalid(f"{field}: a scoring script needs an environment.", field)
    if script is not None:
        field = "properties.codeConfiguration.codeId"
        code = references.asset(connection, workspace, script["codeId"], "codes", field)
        properties["codeConfiguration"] = {**script, "codeId": shown_id(code.written)}
    parts = scoring.parts(platform, connection, workspace, properties, model)
    ours: Document = {scoring.COMPONENT: str(parts.component)}
    if model is not None:
        ours[scoring.MODEL_TYPE] = model.properties["modelType"]
    spec = {**spec, "properties": properties, OURS: ours}

    def writes(connection: Connection) -> None:
        parts.keep(connection, request.now, request.principal.name)
        invocation.rehearse(request, connection, spec)

    return Admitted(spec, writes=writes)


def _unpacked(connection: Connection, workspace: ResourceId, properties: Document) -> Document:
    """With what the package holds that its environment is. Raises ArmError(400)."""
    if not (given := properties.get("environmentId")):
        return properties
    environment = references.asset(connection, workspace, given, "environments", "properties.environmentId")
    found = model_package.unpacked(environment, properties, model_package.BATCH)
    if found is properties:
        return properties
    return {**found, "model": {"referenceType": "Id", "assetId": found["model"]}}


def _action(given: Any) -> str:
    known = _ACTIONS.get(str(given or _ROWS).lower().replace("_", ""))
    if known is None:
        field = "properties.outputAction"
        raise invalid(f"{field}: '{str(given)[:80]}' is neither {_ROWS} nor {_SUMMARY}.", field)
    return known


def _model(connection: Connection, request: Request, properties: Document) -> Row | None:
    """Written to `properties` with its version."""
    given, field = part(properties, "model"), "properties.model"
    if not given:
        return None
    if (type_ := str(given.get("referenceType") or "Id")) != "Id" or not given.get("assetId"):
        raise invalid(f"{field}: a reference of type '{type_[:40]}' cannot be had here; name a model's assetId.", field)
    row = references.asset(connection, request.id.workspace, str(given["assetId"]), "models", f"{field}.assetId")
    properties["model"] = {"referenceType": "Id", "assetId": shown_id(row.written)}
    return row


def _reconcile(platform: Platform, row: Row) -> Step:
    """Nothing outside belongs to it. It is an operation for clients of 1.31.0, which read the answer to a PUT twice and
    fail over a model's reference the second time: of an operation they read what is there at its end."""
    return Step(row.state, row.status, gone=True) if row.deleting else Step("Succeeded", row.status, done=True)


def _check_delete(request: Request, connection: Connection, row: Row) -> None:
    endpoint = resources.get(connection, row.parent)
    default = part(endpoint.properties, "defaults").get("deploymentName") if endpoint else None
    if str(default or "").lower() == row.name.lower():
        raise conflict(
            f"Deployment '{row.name}' is the default of its endpoint. Make another one the default first.", "name"
        )


KIND = Kind(
    path="workspaces/batchEndpoints/deployments",
    tracked=True,
    title="batch deployment",
    properties=DeploymentProperties,
    admit=_admit,
    reconcile=_reconcile,
    long_running=True,
    delete_at_once=True,
    check_delete=_check_delete,
    name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$",
)
