"""What an ARM template would PUT: its resources as requests, for `deployments/validate`.

https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
Of the template language only `[parameters('name')]` as a whole value is followed; `copy` and other functions are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from smalt.arm.errors import ArmError
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Document, Request

MOST = 800  # resources in one template, as in Azure
_BODY = ("location", "kind", "tags", "identity", "sku", "properties")
_PARAMETER = re.compile(r"\[\s*parameters\(\s*'([^']+)'\s*\)\s*\]", re.IGNORECASE)
_CALL = re.compile(r"\[\s*[a-z]\w*(\.\w+)*\s*\(.*\]", re.IGNORECASE | re.DOTALL)


def planned(request: Request, properties: Document) -> list[Request]:
    """One request for each resource of `properties.template`. Raises ArmError(400, InvalidTemplate)."""
    template = properties.get("template")
    if template is None:
        raise invalid_template("it is missing; a link to one is not followed here", "properties.template")
    parameters = _parameters(template, properties.get("parameters") or {})
    found: list[Request] = []
    for at, (resource, target) in enumerate(_resources(template, "properties.template.resources", parameters)):
        if at == MOST:
            raise invalid_template(f"it has more than {MOST} resources", "properties.template.resources")
        found.append(_request(request, resource, target))
    return found


def invalid_template(fault: str, target: str) -> ArmError:
    return ArmError(400, "InvalidTemplate", f"Deployment template validation failed: {target}: {fault}.", target)


def _parameters(template: Document, given: Document) -> Document:
    """Values by name in lower case: those given, else the defaults."""
    declared = template.get("parameters") or {}
    if not isinstance(declared, dict):
        raise invalid_template("it must be an object", "properties.template.parameters")
    defaults = {name: one["defaultValue"] for name, one in declared.items() if _has(one, "defaultValue")}
    values = {name: one["value"] for name, one in given.items() if _has(one, "value")}
    return {name.lower(): value for name, value in {**defaults, **values}.items()}


def _has(one: Any, key: str) -> bool:
    return isinstance(one, dict) and key in one


def _resources(owner: Document, target: str, parameters: Document) -> Iterator[tuple[Document, str]]:
    """(resource, its path in the request) with parameters filled in and keys of the first level in lower case."""
    given: Any = owner.get("resources")
    entries = list(given.values()) if isinstance(given, dict) else given or []
    if not isinstance(entries, list):
        raise invalid_template("they must be a list", target)
    for at, entry in enumerate(cast("list[Any]", entries)):
        place = f"{target}[{at}]"
        if not isinstance(entry, dict):
            raise invalid_template("a resource must be an object", place)
        lowered = {str(key).lower(): value for key, value in cast("dict[Any, Any]", entry).items()}
        if "copy" in lowered:
            raise invalid_template("'copy' is not followed here; write each resource out", f"{place}.copy")
        nested = lowered.pop("resources", None)
        lowered.pop("dependson", None)  # the order does not matter here
        resource = {key: _filled(value, parameters, f"{place}.{key}") for key, value in lowered.items()}
        if resource.get("condition", True) is False:
            continue
        for key in ("type", "name", "apiversion"):
            if not isinstance(resource.get(key), str):
                raise invalid_template(f"a resource needs the text '{key}'", f"{place}.{key}")
        yield resource, place
        for child, where in _resources({"resources": nested}, f"{place}.resources", parameters):
            if not child["type"].lower().startswith(resource["type"].lower() + "/"):
                child = {
                    **child,
                    "type": f"{resource['type']}/{child['type']}",
                    "name": f"{resource['name']}/{child['name']}",
                }
            yield child, where


def _filled(value: Any, parameters: Mapping[str, Any], target: str) -> Any:
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return {key: _filled(one, parameters, f"{target}.{key}") for key, one in found.items()}
    if isinstance(value, list):
        return [_filled(one, parameters, f"{target}[{at}]") for at, one in enumerate(cast("list[Any]", value))]
    if not isinstance(value, str):
        return value
    if parameter := _PARAMETER.fullmatch(value):
        name = parameter[1].lower()
        if name not in parameters:
            raise invalid_template(f"the parameter '{parameter[1]}' has neither a value nor a default", target)
        return parameters[name]
    if value.startswith("[["):
        return value[1:] if value.endswith("]") else value
    if _CALL.fullmatch(value):
        raise invalid_template(f"the expression '{value[:80]}' is not evaluated here; write its value", target)
    return value


def _scope(request: Request, resource: Document, target: str) -> str:
    """What the resource is in: the deployment's group, or what there `scope` names, which it extends."""
    group, given = str(request.id.parent), str(resource.get("scope") or "").strip("/")
    if not given:
        return group
    scope = f"/{given}" if given.lower().startswith("subscriptions/") else f"{group}/providers/{given}"
    if not scope.lower().startswith(f"{group.lower()}/"):
        raise invalid_template(f"'{given[:200]}' is not in the deployment's resource group", f"{target}.scope")
    return scope


def _request(request: Request, resource: Document, target: str) -> Request:
    provider, *types = resource["type"].split("/")
    names = resource["name"].split("/")
    path = "/".join(f"{type_}/{name}" for type_, name in zip(types, names, strict=False))
    try:
        if len(types) != len(names):
            raise NotAnId(path)
        id_ = ResourceId.parse(f"{_scope(request, resource, target)}/providers/{provider}/{path}")
    except NotAnId:
        fault = (
            f"the name '{resource['name'][:200]}' needs a part for each part"
            f" of the type '{resource['type'][:200]}' behind its provider"
        )
        raise invalid_template(fault, f"{target}.name") from None
    body = {key: resource[key] for key in _BODY if key in resource}
    return replace(request, id=id_, body=body, query={}, api_version=resource["apiversion"], rehearse=None)
