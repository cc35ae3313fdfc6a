"""A request to an endpoint's address becomes a pipeline job, which is admitted as a client's own would be.

A model's deployment makes one with one parallel step, whose output `score` is the job's own, too; a pipeline
component's makes one of that component. A client that repeats its request, because it had no answer, has the same job.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.above import check_above
from smalt.arm.errors import ArmError, conflict, invalid, not_found
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Admitted, Document, Request
from smalt.arm.runs import JOBS
from smalt.arm.validation import check_name, nearest
from smalt.kinds.jobs import accept, quota, submission
from smalt.kinds.jobs.batch import jobs, scoring
from smalt.kinds.jobs.batch.asked import Asked
from smalt.kinds.jobs.fields import moved
from smalt.kinds.jobs.parallel.settings import is_file_name
from smalt.kinds.jobs.pipeline import rehearsal
from smalt.kinds.jobs.pipelines.bindings import document
from smalt.kinds.jobs.pipelines.components import DATA, component
from smalt.kinds.jobs.pipelines.graph import REHEARSED
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Lock, Row

DEPLOYMENT_HEADER = "azureml-model-deployment"
_REPEATED = (
    "repeatability_request-id",
    "repeatability-request-id",
)  # the official client's spelling, and the standard's
_STAND_IN = "azureml://datastores/workspaceblobstore/paths/azureml/rehearsed/"
_SETTINGS = re.compile(r"componentdeployment\.settings\.", re.IGNORECASE)
_STEP = f"properties.jobs.{scoring.STEP}"
_SPELLED = {
    f"{_STEP}.task.entry_script": "properties.codeConfiguration.scoringScript",
    f"{_STEP}.task.code": "properties.codeConfiguration.codeId",
    f"{_STEP}.task.environment": "properties.environmentId",
    f"{_STEP}.task.program_arguments": "properties.outputFileName",
    f"{_STEP}.task.model": "properties.model",
    f"{_STEP}.inputs.{scoring.MODEL}": "properties.model",
    f"{_STEP}.inputs.{scoring.DATA}": "properties.inputData",
    f"{_STEP}.input_data": "properties.inputData",
    f"{_STEP}.mini_batch_size": "properties.miniBatchSize",
    f"{_STEP}.max_concurrency_per_instance": "properties.maxConcurrencyPerInstance",
    f"{_STEP}.error_threshold": "properties.errorThreshold",
    f"{_STEP}.retry_settings.max_retries": "properties.retrySettings.maxRetries",
    f"{_STEP}.retry_settings": "properties.retrySettings",
    f"{_STEP}.logging_level": "properties.loggingLevel",
    f"{_STEP}.computeId": "properties.compute",
    "properties.computeId": "properties.compute",
    _STEP: "properties",
    "properties.inputs": "properties.inputData",
    "properties.outputs": "properties.outputData",
}


def invoke(request: Request, row: Row | None) -> tuple[int, Any]:
    """201 with the job; 200 where this request has made it already."""
    assert row is not None
    asked = Asked.of(request.body)
    try:
        return _invoked(request, row, asked)
    except resources.Exists:  # it is repeated while the first is still under way: that has made it
        return _invoked(request, row, asked)


def _invoked(request: Request, row: Row, asked: Asked) -> tuple[int, Any]:
    platform, workspace = request.platform, request.id.workspace
    with platform.database.write() as connection:
        check_above(connection, request.kinds, request.id, request.kinds[row.kind])
        endpoint = resources.get(connection, row.id, Lock.BELOW)
        if endpoint is None:
            raise not_found("Batch endpoint", row.name)
        repeated = _repeated(request, endpoint)
        job = workspace.child("jobs", asked.name or f"batchjob-{repeated or uuid.uuid4()}")
        check_name(request.kinds[JOBS], job.name)
        there = resources.get(connection, job.key)
        if there is not None and repeated and jobs.of(there).get("request") == repeated:
            return 200, jobs.document(there)
        if there is not None:
            message = f"Job '{job.name}' exists already; leave the name out, or choose another."
            raise conflict(message, "properties.name")
        deployment = deployment_of(connection, endpoint, request.headers.get(DEPLOYMENT_HEADER, ""))
        _submit(request, connection, endpoint, deployment, job, asked, repeated)
        made = resources.get(connection, job.key)
        assert made is not None
    platform.hub.notify(job.key)
    return 201, jobs.document(made)


def _repeated(request: Request, endpoint: Row) -> str:
    """What is the same for a request and its repetitions, and no other; empty: the client says nothing of it."""
    said = next((one for header in _REPEATED if (one := request.headers.get(header))), "")
    who = f"{jobs.identity(endpoint)} {request.principal.oid} {said}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, who)) if said else ""


def deployment_of(connection: Connection, endpoint: Row, asked: str) -> Row:
    """The one that is `asked` for, or else the default. Raises ArmError(400, 404)."""
    name = asked or str(part(endpoint.properties, "defaults").get("deploymentName") or "")
    id_ = ResourceId.parse(endpoint.written)
    row = resources.get(connection, id_.child("deployments", name).key) if name else None
    if row is not None:
        return row
    keys = resources.children(connection, endpoint.id, "workspaces/batchendpoints/deployments")
    known = [one.name for one in resources.get_many(connection, keys).values()]
    has = f"It has: {', '.join(known[:20])}." if known else "It has no deployments yet."
    if not name:
        field = "properties.defaults.deploymentName"
        raise invalid(
            f"{field}: endpoint '{endpoint.name}' has no default deployment. Set one, or name one in the header"
            f" {DEPLOYMENT_HEADER}. {has}",
            field,
        )
    raise ArmError(
        404,
        "DeploymentNotFound",
        f"Endpoint '{endpoint.name}' has no deployment '{name[:80]}'.{nearest(name, known)} {has}",
        DEPLOYMENT_HEADER if asked else "properties.defaults.deploymentName",
    )


def _submit(
    request: Request,
    connection: Connection,
    endpoint: Row,
    deployment: Row,
    job: ResourceId,
    asked: Asked,
    repeated: str,
) -> None:
    admitted = taken(request, connection, endpoint, deployment, job, asked)
    by, now, ours = request.principal.name, request.now, jobs.ours(deployment, repeated)
    submission.insert(connection, job, admitted, ours, lookup=jobs.identity(endpoint), by=by, now=now)


def taken(
    request: Request, connection: Connection, endpoint: Row, deployment: Row, job: ResourceId, asked: Asked
) -> Admitted:
    """The job of a request, as it is admitted. Raises ArmError, whose fields are those of the request."""
    configuration = part(deployment.properties, "deploymentConfiguration")
    if configuration:
        what = _of_component(connection, request.id.workspace, configuration, asked)
    else:
        what = _of_model(deployment.spec, asked)
    tags = {**part(configuration, "tags"), "azureml.batchrun": "true"}
    if configuration:
        tags["azureml.jobtype"] = "azureml.pipelinejob"  # by which clients know that its outputs are its own
    properties = {
        **what,
        "displayName": asked.display_name or job.name,
        "description": configuration.get("description"),
        "experimentName": asked.experiment or endpoint.name,
        "tags": tags,
        "properties": {
            **asked.properties,
            "azureml.endpointname": endpoint.name,
            "azureml.deploymentname": deployment.name,
        },
    }
    spelled = _SPELLED if not configuration else {key: one for key, one in _SPELLED.items() if _STEP not in key}
    try:
        admitted = accept.new(replace(request, id=job, body={"properties": properties}, patched=False), connection)
        quota.check(connection, request.id.workspace, admitted.spec)
    except ArmError as error:
        raise _within(error, spelled) from None
    return admitted


def rehearse(request: Request, connection: Connection, deployment: Mapping[str, Any]) -> None:
    """Raises ArmError where the job of a request to this model's deployment would be refused, whatever its data."""
    data: Document = {"jobInputType": "uri_folder", "uri": _STAND_IN}
    properties = _of_model(deployment, Asked({scoring.DATA: data}))
    job = request.id.workspace.child("jobs", "rehearsed")
    try:
        accept.new(replace(request, id=job, body={"properties": properties}, patched=False), connection)
    except ArmError as error:
        raise _within(error, _SPELLED) from None


def rehearse_component(request: Request, connection: Connection, configuration: Document, found: Component) -> None:
    """Raises ArmError where the job of a request to this pipeline component would be refused, whatever its inputs."""
    ports = {name: document(port) for name, port in found.inputs.items()}
    needed = {name: port for name, port in ports.items() if port.get("default") is None and not port.get("optional")}
    inputs = {name: _stand_in(port) for name, port in needed.items()}
    properties: Document = {
        **_of_component(connection, request.id.workspace, configuration, Asked(inputs)),
        "experimentName": "rehearsed",
    }
    job = request.id.workspace.child("jobs", "rehearsed")
    try:
        with rehearsal():
            accept.new(replace(request, id=job, body={"properties": properties}, patched=False), connection)
    except ArmError as error:
        field = "properties.deploymentConfiguration.componentId"
        message = f"{field}: no job can be made of {found.id}: {error.message}"
        raise ArmError(error.status, error.code, message, field, error.details) from None


def _stand_in(port: Mapping[str, Any]) -> Document:
    type_ = str(port.get("type") or "string")
    if type_ in DATA:
        return {"jobInputType": type_, "uri": _STAND_IN}
    return {"jobInputType": "literal", "value": "0", REHEARSED: True}


def _within(error: ArmError, spelled: Mapping[str, str]) -> ArmError:
    for old, new in spelled.items():
        error = moved(error, old, new)
    return error


def settings_of(configuration: Mapping[str, Any]) -> Document:
    """Of a pipeline component's deployment, under the names that a pipeline's have."""
    return {_SETTINGS.sub("", key): one for key, one in part(configuration, "settings").items() if one is not None}


def _of_component(connection: Connection, workspace: ResourceId, configuration: Document, asked: Asked) -> Document:
    reference = part(configuration, "componentId")["assetId"]
    if asked.step or asked.file:
        what = next(iter(asked.step), "outputFileName")
        raise invalid(
            f"properties: '{what}' is for the deployments of models; this one is a pipeline component.", "properties"
        )
    known = list(component(connection, workspace, reference, "properties.deploymentConfiguration.componentId").inputs)
    for name in asked.inputs:
        if name not in known:
            field = f"properties.inputData.{name}"
            raise invalid(f"{field}: the component has no such input.{nearest(name, known)}", field)
    return {
        "jobType": "Pipeline",
        "componentId": reference,
        "inputs": dict(asked.inputs),
        "outputs": dict(asked.outputs),
        "settings": settings_of(configuration),
    }


def _of_model(deployment: Mapping[str, Any], asked: Asked) -> Document:
    field = "properties.inputData"
    if len(asked.inputs) != 1:
        have = f"{len(asked.inputs)} are given" if asked.inputs else "none is given"
        raise invalid(
            f"{field}: the deployment of a model takes one input, a UriFolder, a UriFile or an MLTable; {have}.", field
        )
    (name, data), *_ = asked.inputs.items()
    if data["jobInputType"] not in ("uri_folder", "uri_file", "mltable"):
        raise invalid(
            f"{field}.{name}.jobInputType: a {data['jobInputType']} is no data that a model's deployment splits; give"
            " a UriFolder, a UriFile or an MLTable.",
            f"{field}.{name}.jobInputType",
        )
    said = _step(deployment, asked)
    if data["jobInputType"] == "mltable":  # `miniBatchSize` counts files, and a table that is read is cut by bytes
        said = {**said, "table_batch_size": scoring.TABLE_BATCH}
    return scoring.pipeline(deployment, _port(name), data, _score(asked), said)


def _port(name: str) -> str:
    """Names of inputs are free in requests, and not in jobs."""
    return name if re.fullmatch(r"[a-zA-Z_]\w{0,200}", name) else scoring.DATA


def _score(asked: Asked) -> Document:
    field = "properties.outputData"
    if len(asked.outputs) > 1:
        raise invalid(f"{field}: the deployment of a model has one output; {len(asked.outputs)} are given.", field)
    given = next(iter(asked.outputs.values()), {"jobOutputType": "uri_folder"})
    if given["jobOutputType"] not in ("uri_folder", "uri_file"):
        raise invalid(f"{field}: the output of a model's deployment is a UriFolder or a UriFile.", field)
    return given


def _step(deployment: Mapping[str, Any], asked: Asked) -> Document:
    if not asked.file:
        return asked.step
    if not is_file_name(asked.file):
        field = "properties.outputFileName"
        raise invalid(f"{field}: '{asked.file[:80]}' is no name of a file.", field)
    if deployment["properties"]["outputAction"] != "AppendRow":
        return asked.step
    return {**asked.step, "task": {"program_arguments": f"--append_row_file_name {asked.file}"}}
