"""A step's settings, in a pipeline's spelling and a component's, as the properties of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.bindings import document

_NODE = ("resources", "distribution", "limits", "environment_variables", "queue_settings", "services", "identity",
         "computeId", "tags", "properties", "description")  # fmt: skip
_OBJECTS = tuple(
    spelled
    for key in ("resources", "distribution", "limits", "environment_variables", "queue_settings", "tags", "properties",
                "inputs", "outputs", "mapping")
    for spelled in dict.fromkeys((key, to_camel(key)))
)  # fmt: skip
_AS_WRITTEN = ("environment_variables", "tags", "properties", "services")  # their keys are the user's
_DISTRIBUTIONS = {"pytorch": "PyTorch", "tensorflow": "TensorFlow", "mpi": "Mpi", "ray": "Ray"}


def no_objects(node: Mapping[str, Any], field: str) -> list[ArmError]:
    """What a step's document says in a place where an object belongs, and is none."""
    wrong = [key for key in _OBJECTS if not isinstance(node.get(key) or {}, dict)]
    return [invalid(f"{field}.{key}: {str(node[key])[:80]!r} is no object.", f"{field}.{key}") for key in wrong]


def given(node: Mapping[str, Any]) -> Document:
    """What a step's document says of its job."""
    both = {
        **{to_camel(key): node.get(to_camel(key)) for key in _NODE},
        **{to_camel(key): node.get(key) for key in _NODE if node.get(key) is not None},
    }
    return {key: value for key, value in both.items() if value is not None}


def settings(said: Document) -> Document:
    """As properties of a job."""
    written = {to_camel(key) for key in _AS_WRITTEN}
    found = {key: value if key in written else camel(value) for key, value in said.items()}
    if "distribution" in found:
        found["distribution"] = distribution(found["distribution"])
    return found


def camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(key): camel(one) for key, one in document(value).items()}
    return value


def distribution(said: Any) -> Any:
    if not isinstance(said, dict):
        return said
    given = document(said)
    found = {key: one for key, one in given.items() if key not in ("type", "distributionType")}
    type_ = str(given.get("distributionType") or given.get("type") or "")
    return {"distributionType": _DISTRIBUTIONS.get(type_.lower(), type_), **found}


def command(spec: Mapping[str, Any], own: Mapping[str, Any]) -> Document:
    """The properties of the command job that a step is, from its component and what the pipeline says of it."""
    resources = {
        **camel(document(spec.get("resources"))),
        **{k: v for k, v in document(own.get("resources")).items() if v is not None},
    }
    base: Document = {
        "command": spec.get("command"),
        "environmentId": spec.get("environment"),
        "codeId": spec.get("code"),
        "distribution": distribution(camel(spec.get("distribution"))),
        "environmentVariables": {
            **document(spec.get("environment_variables")),
            **document(own.get("environmentVariables")),
        },
    }
    merged = {**base, **{key: value for key, value in own.items() if key != "environmentVariables"}}
    merged["resources"] = resources
    return {key: value for key, value in merged.items() if value not in (None, {})}
