"""The registry `azureml`, as its readers see it: the environments that are shipped, which each workspace has too.

It has no rows: there is nothing to write, and it is there before the first workspace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smalt.arm.errors import ArmError, not_found
from smalt.arm.ids import ML, ResourceId
from smalt.arm.kind import Document
from smalt.kinds.assets import registries
from smalt.kinds.assets.references import CURATED
from smalt.settings import RESOURCE_GROUP, SUBSCRIPTION

ID = ResourceId(SUBSCRIPTION, RESOURCE_GROUP).extension(ML, registries.PATH, registries.SHIPPED)
TYPES = ("environments", "models", "data", "components", "codes")
_ENVIRONMENTS = TYPES[0]
_TYPE = f"{ML}/{registries.PATH}/{_ENVIRONMENTS}"


def properties_of(definition: Mapping[str, Any]) -> Document:
    """What the version of an environment says, of a definition as `Environments.curated` gives it."""
    return {
        "image": definition.get("image"),
        "condaFile": definition.get("conda_file"),
        "description": definition.get("description"),
        "tags": dict(definition.get("tags") or {}),
        "environmentType": CURATED,
        "osType": "Linux",
        "isAnonymous": False,
    }


def read(environments: Mapping[str, Mapping[str, Any]], method: str, path: Sequence[str]) -> Document:
    """What `path` (TYPE/NAME/versions/VERSION or the beginning of it) is. Raises ArmError(404, 405).

    `environments`: the definitions by their names.
    """
    if method != "GET":
        message = "The registry 'azureml' is shipped and cannot be changed; make one of your own."
        raise ArmError(405, "MethodNotAllowed", message)
    type_ = path[0].lower() if path else ""
    if type_ not in TYPES or len(path) > 4 or [one.lower() for one in path[2:3]] not in ([], ["versions"]):
        raise not_found("Address", "/".join(path)[:200])
    found = {name.lower(): (name, one) for name, one in environments.items()} if type_ == _ENVIRONMENTS else {}
    if len(path) == 1:
        return {"value": [_container(name, one) for name, one in found.values()]}
    if path[1].lower() not in found:
        raise _missing(type_, path[1])
    name, definition = found[path[1].lower()]
    if len(path) == 2:
        return _container(name, definition)
    if len(path) == 3:
        return {"value": [_version(name, definition, str(definition["version"]))]}
    return _version(name, definition, path[3])


def _missing(type_: str, name: str) -> ArmError:
    only = "" if type_ == _ENVIRONMENTS else " It has environments only: what Azure's has else is not shipped."
    message = f"There is no '{name[:100]}' among the {type_} of the registry 'azureml'.{only}"
    return ArmError(404, "ResourceNotFound", message, target=name[:100])


def _container(name: str, definition: Mapping[str, Any]) -> Document:
    version = str(definition["version"])
    following = str(int(version) + 1) if version.isdigit() else "1"
    said = {key: one for key, one in properties_of(definition).items() if key in ("description", "tags")}
    shown = {**said, "latestVersion": version, "nextVersion": following, "isArchived": False, "properties": {}}
    return {"id": str(ID.child(_ENVIRONMENTS, name)), "name": name, "type": _TYPE, "properties": shown}


def _version(name: str, definition: Mapping[str, Any], version: str) -> Document:
    """Azure numbers its environments on: the one that is shipped stands for all. Raises ArmError(404)."""
    shipped, shown = str(definition["version"]), properties_of(definition)
    if version != shipped:
        if not (version.isascii() and version.isdigit()):
            raise _missing(_ENVIRONMENTS, f"{name}:{version}")
        shown["description"] = f"{shown['description'] or ''} Version {shipped} is shipped and stands for this.".strip()
    id_ = ID.child(_ENVIRONMENTS, name).child("versions", version)
    return {
        "id": str(id_),
        "name": version,
        "type": f"{_TYPE}/versions",
        "properties": {**shown, "isArchived": False, "provisioningState": "Succeeded"},
    }
