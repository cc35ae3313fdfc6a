"""Components: reusable steps, stored as the client wrote them, with the name and version that the service gives them.

The client reads both from `componentSpec`, and asks for the version `azureml_default` where the user names none.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Kind, Request
from smalt.kinds.versions import NAME, VersionProperties, admit_version, container, version_removed
from smalt.store.resources import Row


class ComponentProperties(VersionProperties):
    component_spec: dict[str, Any]


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    message = "A component version is fixed: code, inputs, outputs and command cannot be updated."
    properties = request.body["properties"]
    fixed = () if properties.get("isAnonymous") else ("componentSpec",)
    named = {**properties["componentSpec"], "name": request.id.parent.name, "version": request.id.name}
    spec = {**request.body, "properties": {**properties, "componentSpec": named}}
    return admit_version(request, connection, old, fixed=fixed, spec=spec, message=message)


KINDS = [
    container("workspaces/components", "component"),
    Kind(
        path="workspaces/components/versions",
        title="component version",
        properties=ComponentProperties,
        admit=_admit,
        creates_parent=True,
        deleted=version_removed,
        name_pattern=NAME,
        newest_as="azureml_default",
    ),
]
