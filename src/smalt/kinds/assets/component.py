"""Components: reusable steps, stored as the client wrote them, with the name and version that the service gives them.

The client reads both from `componentSpec`, and asks for the version `azureml_default` where the user names none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.kinds.assets.component_of_job import completed as of_job
from smalt.kinds.assets.references import asset_key, content_key
from smalt.kinds.assets.versions import (
    NAME,
    Fixed,
    VersionProperties,
    admit_version,
    changed,
    container,
    in_both_homes,
    meaning,
    version_removed,
)
from smalt.store.document import part
from smalt.store.resources import Row

_ANSWERED = {"id", "creation_context"}  # what clients read into a specification, and send back with it
_PRESENTATION = {"$schema", "_source", "name", "version", "description", "display_name", "tags"}
_PIPELINE = "pipeline"
_SHOWN: Document = {"is_deterministic": False}  # of a pipeline that does not say it, as by the service
_COMPUTE = re.compile(r"\$\{\{\s*parent\.inputs\.(\w+)\s*\}\}")


_FIXED = Fixed({}, "A component version is fixed: code, inputs, outputs and command cannot be updated.")


class ComponentSpecification(BaseModel):
    """Only what is looked into here; a specification is YAML's, with its names."""

    model_config = {"extra": "allow", "coerce_numbers_to_str": True}
    type: str | None = None
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    jobs: dict[str, dict[str, Any] | None] | None = None
    resources: dict[str, Any] | None = None
    distribution: dict[str, Any] | None = None


class ComponentProperties(VersionProperties):
    component_spec: ComponentSpecification


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = request.body["properties"]
    written = _completed(of_job(connection, request.id.home, properties["componentSpec"]))
    named = {"name": request.id.parent.name, "version": request.id.name}
    # anonymous ones are all versions of one container: the written name is their own
    component = {**named, **written} if properties.get("isAnonymous") else {**written, **named}
    if old is not None and not properties.get("isAnonymous"):
        known = _completed(old.properties["componentSpec"])
        if _essence(request, connection, known) != _essence(request, connection, component):
            raise changed(old, "componentSpec", _FIXED)
        if _leaves_open(known):
            component = {key: value for key, value in component.items() if key not in _SHOWN}
    spec = {**request.body, "properties": {**properties, "componentSpec": component}}
    return admit_version(request, connection, old, spec=spec)


def _completed(component: Document) -> Document:
    """With the defaults that clients read and need not write."""
    component = {key: value for key, value in component.items() if key not in _ANSWERED}
    if inputs := component.get("inputs"):
        ports = {name: {"optional": False, **port} if isinstance(port, dict) else port for name, port in inputs.items()}
        component = {**component, "inputs": ports}
    if component.get("type") == _PIPELINE:
        component = _with_names_of_computes(component)
    if component.get("type") == "command":
        component = {**component, "resources": {"instance_count": 1, **(component.get("resources") or {})}}
        if distribution := component.get("distribution"):
            counts = {key: str(value) if isinstance(value, int) else value for key, value in distribution.items()}
            component = {**component, "distribution": counts}  # as Azure writes them; clients compare the text
    return component


def _with_names_of_computes(component: Document) -> Document:
    """Inputs that steps take their compute from have its name for a default, without `azureml:`, as Azure writes it."""
    steps = [step for step in part(component, "jobs").values() if isinstance(step, Mapping)]
    computes = (str(step.get("computeId") or step.get("compute") or "") for step in steps)
    named = {found[1] for one in computes if (found := _COMPUTE.fullmatch(one.strip()))}
    ports = {
        name: {**port, "default": str(port["default"]).removeprefix("azureml:")}
        if name in named and isinstance(port, Mapping) and isinstance(port.get("default"), str)
        else port
        for name, port in part(component, "inputs").items()
    }
    return {**component, "inputs": ports} if ports else component


def _essence(request: Request, connection: Connection, component: Document) -> Any:
    """What makes two specifications one component: not how it is presented, nor how code and environment are named."""
    said = {key: value for key, value in component.items() if key not in _PRESENTATION}
    if _leaves_open(said):
        said = {**said, **_SHOWN}
    if isinstance(code := said.get("code"), str):
        said["code"] = content_key(connection, request.id.home, code)
    if isinstance(environment := said.get("environment"), str):
        said["environment"] = asset_key(connection, request.id.home, environment, "environments")
    return _as_text(meaning(said))


def _leaves_open(component: Document) -> bool:
    """Of a pipeline: whether it is deterministic."""
    return component.get("type") == _PIPELINE and component.get("is_deterministic") is None


def _as_text(value: Any) -> Any:
    """Whether a client wrote 10 or "10" makes no difference."""
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return "" if value is None else str(value).removeprefix("azureml:")


def _view(platform: Platform, row: Row) -> Document:
    component = row.properties["componentSpec"]
    return {"componentSpec": {**component, **_SHOWN}} if _leaves_open(component) else {}


KINDS = in_both_homes(
    container("workspaces/components", "component"),
    Kind(
        path="workspaces/components/versions",
        title="component version",
        properties=ComponentProperties,
        admit=_admit,
        view=_view,
        creates_parent=True,
        deleted=version_removed,
        name_pattern=NAME,
        newest_as="azureml_default",
    ),
)
