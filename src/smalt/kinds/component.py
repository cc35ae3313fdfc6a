"""Components: reusable steps, stored as the client wrote them."""

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
    fixed = () if request.body["properties"].get("isAnonymous") else ("componentSpec",)
    return admit_version(request, connection, old, fixed=fixed, spec=request.body, message=message)


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
    ),
]
