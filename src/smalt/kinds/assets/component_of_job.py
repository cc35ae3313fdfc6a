"""A pipeline component that is made of a pipeline job: the SDK's `PipelineComponent(source_job_id=…)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Document
from smalt.arm.runs import JOBS
from smalt.kinds.assets import registries
from smalt.kinds.assets.references import titled
from smalt.store import resources
from smalt.store.document import part

SOURCE = "sourceJobId"
_FIELD = f"properties.componentSpec.{SOURCE}"


def completed(connection: Connection, home: ResourceId, component: Mapping[str, Any]) -> Document:
    """With the job's steps, inputs and outputs, where the specification names one and has no steps of its own.

    Values that the job had are defaults; its files are not. Raises ArmError(400).
    """
    if not component.get(SOURCE) or component.get("jobs"):
        return dict(component)
    if home.kind == registries.PATH:
        message = f"{_FIELD}: {titled(home)} has no jobs; create the component in the workspace of the job."
        raise invalid(message, _FIELD)
    source = str(component[SOURCE]).removeprefix("azureml:")
    try:
        id_ = ResourceId.parse(source)
    except NotAnId:
        id_ = home.child("jobs", source)
    row = resources.get(connection, id_.key)
    if id_.parent.key != home.key or row is None or row.kind != JOBS:
        raise invalid(f"{_FIELD}: there is no job '{source[:200]}' in {titled(home)}.", _FIELD)
    properties = row.properties
    if properties.get("jobType") != "Pipeline" or not properties.get("jobs"):
        raise invalid(f"{_FIELD}: '{row.name}' is no pipeline job with steps of its own.", _FIELD)
    inputs = {name: _input(one) for name, one in part(properties, "inputs").items()}
    outputs = {
        name: {"type": one.get("jobOutputType") or "uri_folder"} for name, one in part(properties, "outputs").items()
    }
    return {**component, "type": "pipeline", "jobs": part(properties, "jobs"), "inputs": inputs, "outputs": outputs}


def _input(given: Mapping[str, Any]) -> Document:
    if given.get("jobInputType") == "literal":
        return {"type": "string", "default": str(given.get("value"))}
    return {"type": given.get("jobInputType")}
