"""Data, environments, models and components, their versions and what holds these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import Fields, Unshaped, Where, arm, creation_context, lowered, names, printed
from .jobs import steps

_OF_CONTAINERS = ("provisioningState", "nextVersion", "isArchived")
_OF_VERSIONS = ("provisioningState", "isArchived", "isAnonymous")
_SPEC = ("_source", "$schema", "sourceJobId", "name", "version", "description", "tags")


def data(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    name, version = names(document["id"])
    if version is None:
        shown = _container(document, "properties")
        del shown["id"]  # the SDK forgets it, for data alone
        return shown
    left = Fields(document["properties"])
    left.drop(*_OF_VERSIONS)
    shown = printed(
        name=name,
        id=document["id"],
        version=version,
        creation_context=creation_context(document.get("systemData")),
        description=left.take("description"),
        tags=left.take("tags", {}),
        properties=left.take("properties", {}),
        path=left.take("dataUri"),
        type=left.take("dataType"),
    )
    left.drop("referencedUris")
    left.end()
    return shown


def environment(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    name, version = names(document["id"])
    if version is None:
        return _container(document)
    left = Fields(document["properties"])
    left.drop(*_OF_VERSIONS, "environmentType", "properties")
    conda, build, inference = left.take("condaFile"), left.take("build"), left.take("inferenceConfig")
    shown = printed(
        name=name,
        id=arm(document["id"]),
        version=version,
        creation_context=creation_context(document.get("systemData")),
        description=left.take("description"),
        tags=left.take("tags", {}),
        image=left.take("image"),
        conda_file=_yaml(conda) if conda else None,
        build=printed(path=build.get("contextUri"), dockerfile_path=build.get("dockerfilePath")) if build else None,
        os_type=lowered(left.take("osType")),
        inference_config={key: _route(inference[full]) for key, full in _ROUTES if inference.get(full)}
        if inference
        else None,
    )
    left.end()
    return shown


_ROUTES = (
    ("liveness_route", "livenessRoute"),
    ("readiness_route", "readinessRoute"),
    ("scoring_route", "scoringRoute"),
)


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    return printed(port=route.get("port"), path=route.get("path"))


def _yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def model(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    name, version = names(document["id"])
    if version is None:
        return _container(document, "properties", type="custom_model")
    left = Fields(document["properties"])
    left.drop(*_OF_VERSIONS)
    flavors = left.take("flavors")
    shown = printed(
        name=name,
        id=arm(document["id"]),
        version=version,
        creation_context=creation_context(document.get("systemData")),
        description=left.take("description"),
        tags=left.take("tags", {}),
        properties=left.take("properties", {}),
        path=left.take("modelUri"),
        type=left.take("modelType"),
        stage=left.take("stage"),
        job_name=left.take("jobName"),
        flavors={key: value.get("data", value) for key, value in flavors.items()} if flavors else None,
    )
    left.end()
    return shown


def component(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    name, version = names(document["id"])
    if version is None:
        shown = _container(document)
        del shown["tags"]
        return shown
    properties = document["properties"]
    left = Fields(properties["componentSpec"])
    kind = left.take("type")
    if kind not in ("command", "pipeline"):
        raise Unshaped(f"a component of type {kind}")
    shown = printed(
        name=name,
        id=arm(document["id"]),
        version=version,
        creation_context=creation_context(document.get("systemData")),
        description=left.take("description") or properties.get("description"),
        tags=left.take("tags") or properties.get("tags") or None,
        type=kind,
        is_deterministic=left.take("is_deterministic", True) if kind == "command" else None,
        jobs=steps(left.take("jobs"), where) if kind == "pipeline" else None,
        inputs={key: _port(value) for key, value in left.take("inputs", {}).items()},
        outputs={key: _port(value) for key, value in left.take("outputs", {}).items()},
        **left.snake("display_name", "command", "code", "environment", "resources"),
    )
    left.drop(*_SPEC)
    left.end()
    return shown


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    left = Fields(port)
    shown = left.snake("type", "description", "optional", "default", "mode", "min", "max", "enum")
    left.end()
    return shown


def _container(document: Mapping[str, Any], *more: str, type: str | None = None) -> dict[str, Any]:
    left = Fields(document["properties"])
    left.drop(*_OF_CONTAINERS, *({"properties"} - set(more)))
    shown = printed(
        name=document["name"],
        id=arm(document["id"]),
        creation_context=creation_context(document.get("systemData")),
        description=left.take("description"),
        tags=left.take("tags", {}),
        properties=left.take("properties"),
        latest_version=left.take("latestVersion"),
        type=type or left.take("dataType"),
    )
    left.end()
    return shown
