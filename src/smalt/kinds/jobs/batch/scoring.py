"""A model's deployment as a pipeline of one step: a parallel component, which splits the input and writes `score`.

The component is a version without a name of a user's, as clients make them of the steps of pipelines; so is the
environment of an MLflow model without a scoring script, which is what MLflow wrote beside the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from smalt.agent.wire import Ref
from smalt.arm.durations import seconds_of
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.kinds.assets import anonymous, references
from smalt.kinds.assets.model_environment import check_mlflow_model, model_environment
from smalt.kinds.jobs.parallel.settings import MODEL as MLFLOW
from smalt.kinds.jobs.parallel.settings import RUN_FUNCTION
from smalt.store.document import part
from smalt.store.resources import Row

COMPONENT, MODEL_TYPE = "component", "model_type"  # in a deployment's own part of the spec: the component's id
STEP, DATA, MODEL, SCORE = "batchscoring", "job_data_path", "model", "score"  # the step, and its ports
TABLE_BATCH = "1mb"  # of an MLTable that is read, as parallel jobs have it
_COMPONENTS, _ENVIRONMENTS = "azureml_anonymous", "CliV2AnonymousEnvironment"


@dataclass(frozen=True)
class Parts:
    """What a deployment needs beside itself: the component's version, and an environment's where nobody gave one."""

    component: ResourceId
    specification: Document
    environment: ResourceId | None
    definition: Document

    def keep(self, connection: Connection, now: float, by: str) -> None:
        """In the deployment's transaction; what is there already is left as it is."""
        if self.environment is not None:
            anonymous.keep(connection, self.environment, self.definition, now, by)
        anonymous.keep(connection, self.component, {"componentSpec": self.specification}, now, by)


def parts(
    platform: Platform, connection: Connection, workspace: ResourceId, properties: Document, model: Row | None
) -> Parts:
    """Of a deployment's properties in full. Raises ArmError(400)."""
    environment, definition = None, dict[str, Any]()
    if not properties.get("codeConfiguration"):
        assert model is not None, "without a script and a model it was refused"
        files = references.model_place(platform, connection, workspace, model, "properties.model").ref(folder=False)
        check_mlflow_model(platform, files)
        definition = {} if properties.get("environmentId") else _own_environment(platform, files)
    if definition:
        versions = workspace.child("environments", _ENVIRONMENTS)
        environment = versions.child("versions", anonymous.version_of(definition))
    specification = _component(properties, model, str(environment or properties["environmentId"]))
    version = anonymous.version_of(specification)
    component = workspace.child("components", _COMPONENTS).child("versions", version)
    return Parts(component, {"name": STEP, "version": version, **specification}, environment, definition)


def _own_environment(platform: Platform, model: Ref) -> Document:
    found = model_environment(platform, model)
    conda = found.conda_file
    if not conda:
        lines = "".join(f"  - {json.dumps(line)}\n" for line in found.pip_requirements.splitlines() if line.strip())
        conda = f"dependencies:\n- pip\n- pip:\n{lines}"
    return {"condaFile": conda, "osType": "Linux", "environmentType": "UserCreated"}


def _component(properties: Document, model: Row | None, environment: str) -> Document:
    """As YAML has it."""
    script, retries = part(properties, "codeConfiguration"), part(properties, "retrySettings")
    appends = properties["outputAction"] == "AppendRow"
    task: Document = {
        "type": RUN_FUNCTION if script else MLFLOW,
        "code": script.get("codeId"),
        "entry_script": script.get("scoringScript"),
        "environment": environment,
        "program_arguments": f"--append_row_file_name {properties['outputFileName']}" if appends else None,
        "append_row_to": f"${{{{outputs.{SCORE}}}}}" if appends else None,
        "model": f"${{{{inputs.{MODEL}}}}}" if model else None,
    }
    inputs: Document = {DATA: {"type": "uri_folder"}}
    if model is not None:
        inputs[MODEL] = {"type": model.properties["modelType"]}
    resources = part(properties, "resources")
    return {
        "type": "parallel",
        "display_name": STEP,
        "is_deterministic": False,
        "inputs": inputs,
        "outputs": {SCORE: {"type": "uri_folder"}},
        "input_data": f"${{{{inputs.{DATA}}}}}",
        "mini_batch_size": str(properties["miniBatchSize"]),
        "max_concurrency_per_instance": properties["maxConcurrencyPerInstance"],
        "error_threshold": properties["errorThreshold"],
        "retry_settings": retried(retries),
        "logging_level": str(properties["loggingLevel"]).upper(),
        "resources": {
            "instance_count": resources.get("instanceCount"),
            **({"instance_type": resources["instanceType"]} if resources.get("instanceType") else {}),
        },
        "environment_variables": {
            name: str(value) for name, value in properties["environmentVariables"].items() if value is not None
        },
        "task": {name: value for name, value in task.items() if value is not None},
    }


def retried(given: Mapping[str, Any]) -> Document:
    """Retry settings as a component has them: the time of one mini-batch in seconds. Raises ArmError(400)."""
    found: Document = {"max_retries": given.get("maxRetries")}
    if given.get("timeout") is not None:
        found["timeout"] = seconds_of(str(given["timeout"]), 0, "properties.retrySettings.timeout")
    return {name: value for name, value in found.items() if value is not None}


def pipeline(deployment: Mapping[str, Any], name: str, data: Document, score: Document, said: Document) -> Document:
    """The job's properties but for what describes it, of a deployment's spec.

    `name`: of the input `data`; `said`: what the step says over its component.
    """
    properties, ours = deployment["properties"], deployment[OURS]
    inputs: Document = {DATA: {"job_input_type": "literal", "value": f"${{{{parent.inputs.{name}}}}}"}}
    if model := part(properties, "model").get("assetId"):
        inputs[MODEL] = {"job_input_type": ours[MODEL_TYPE], "uri": model}
    output = {"type": "literal", "value": f"${{{{parent.outputs.{SCORE}}}}}", "job_output_type": score["jobOutputType"]}
    step: Document = {
        "type": "parallel",
        "componentId": ours[COMPONENT],
        "display_name": STEP,
        "inputs": inputs,
        "outputs": {SCORE: output},
        **said,
    }
    compute = properties.get("compute")
    return {
        "jobType": "Pipeline",
        "inputs": {name: data},
        "outputs": {SCORE: score},
        "jobs": {STEP: step},
        **({"computeId": compute} if compute else {}),
    }
