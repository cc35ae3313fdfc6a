"""What a PUT of an online deployment may say, and what is stored of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from smalt.arm import scale
from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import OURS, Admitted, Request
from smalt.arm.scale import MOST
from smalt.arm.validation import Properties, Texts
from smalt.kinds.assets import model_package, references
from smalt.kinds.assets.environment import specification
from smalt.kinds.process_settings import check_isolation, check_variables
from smalt.kinds.serving import collection, history, hosting, scaling, sizing
from smalt.kinds.serving.serving_settings import CodeConfiguration, ProbeSettings, RequestSettings, given
from smalt.sched import instances
from smalt.sched.sizes import gpus_of
from smalt.store import resources
from smalt.store.resources import Row


class DeploymentProperties(Properties):
    model: str | None = None
    environment_id: str | None = None
    code_configuration: CodeConfiguration | None = None
    environment_variables: Texts | None = None
    instance_type: str | None = None
    endpoint_compute_type: str | None = None
    scale_settings: dict[str, Any] | None = None
    request_settings: RequestSettings | None = None
    liveness_probe: ProbeSettings | None = None
    readiness_probe: ProbeSettings | None = None
    properties: dict[str, str | None] | None = None
    container_resource_requirements: sizing.ContainerResourceRequirements | None = None
    data_collector: collection.DataCollectorProperties | None = None


def admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    workspace, platform = request.id.workspace, request.platform
    check_isolation(platform, request.principal)
    if (kind := properties.get("endpointComputeType")) and kind.lower() not in ("managed", "kubernetes"):
        raise invalid(
            f"properties.endpointComputeType: '{kind}' cannot be had here; use Managed, or Kubernetes with a compute.",
            "properties.endpointComputeType",
        )
    sizing.check(properties)
    have = platform.engine.capacity().gpus
    endpoint = resources.get(connection, request.id.parent.key)
    compute = hosting.chosen(connection, workspace, endpoint, properties, have)
    size = sizing.size_of(properties, on_cluster=compute is not None)
    gpus = gpus_of(size)
    if compute is None and gpus > have:
        raise invalid(
            f"{sizing.field_of(size)}: an instance of {sizing.shown(size)} has {gpus} GPUs; this machine has {have}.",
            sizing.field_of(size),
        )
    sku = {"name": "Default", "capacity": 1, **given(request.body.get("sku"))}
    properties["scaleSettings"] = scaling.checked(properties.get("scaleSettings"))
    least = 0 if scaling.limits_of(properties) or (old is not None and scaling.scaled(old)) else 1
    if type(sku["capacity"]) is not int or not least <= sku["capacity"] <= MOST:
        raise invalid(f"sku.capacity: {sku['capacity']!r} is no whole number from {least} to {MOST}.", "sku.capacity")
    limits = scaling.limits_of(properties)
    asked, field = (limits.most, f"{scaling.FIELD}.maxInstances") if limits else (sku["capacity"], "sku.capacity")
    if compute is not None:
        hosting.check(connection, compute, size, asked, field, request.principal)
    elif asked > (most := instances.most(size, have)):
        raise invalid(
            f"{field}: {asked} instances of {sizing.shown(size)} need {asked * gpus} GPUs; this machine has {have}, for"
            f" {most}.",
            field,
        )
    model = plan = environment = None
    if properties.get("environmentId"):
        environment = references.asset(
            connection, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
        properties = model_package.unpacked(environment, properties, model_package.ONLINE)
    if properties.get("model"):
        model = references.asset(connection, workspace, properties["model"], "models", "properties.model")
        references.model_place(platform, connection, workspace, model, "properties.model")
        properties["model"] = model.written
    script = properties.get("codeConfiguration")
    if script is None and (model is None or model.properties.get("modelType") != "mlflow_model"):
        raise _without_script(environment)
    if script is not None and not properties.get("environmentId"):
        raise invalid("properties.environmentId: a scoring script needs an environment.", "properties.environmentId")
    if environment is not None:
        plan = model_package.plan_of(environment) or platform.environments.plan(
            specification(connection, environment, workspace, request.now), serving=True
        )
        properties["environmentId"] = references.asked_id(
            environment, workspace, properties["environmentId"], "environments", "properties.environmentId"
        )
    if script is not None and script.get("codeId"):
        code = references.asset(connection, workspace, script["codeId"], "codes", "properties.codeConfiguration.codeId")
        properties["codeConfiguration"] = {**script, "codeId": code.written}
    check_variables(properties.get("environmentVariables"), "properties.environmentVariables")
    collects = collection.admit(request, connection, properties)
    properties.setdefault("endpointComputeType", "Managed")
    spec = {**request.body, "properties": properties, "sku": sku, "location": request.body.get("location") or "local"}
    spec.pop(OURS, None)
    ours = ({"plan": plan.document()} if plan is not None else {}) | ({"compute": compute.id} if compute else {})
    if ours:
        spec[OURS] = ours

    def writes(connection: Connection) -> None:
        if old is not None:
            history.remember(connection, old, spec, request.now, request.principal.name)
            if scaling.limits_of(properties) and (setting := scale.governor(old)):
                scale.release(connection, old.id, setting, request.now)
        if collects is not None:
            collects(connection)

    return Admitted(spec, state="Updating" if old else "Creating", due=True, writes=writes)


def _without_script(environment: Row | None) -> ArmError:
    needed = "a scoring script is needed unless the model is an mlflow_model"
    if environment is not None and environment.properties.get("inferenceConfig"):
        needed += "; the environment's image, with a server of its own (inferenceConfig), cannot be run here"
    return invalid(f"properties.codeConfiguration: {needed}.", "properties.codeConfiguration")
