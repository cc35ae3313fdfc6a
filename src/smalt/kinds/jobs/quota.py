"""Jobs under quotas of processors: those that could never run are refused, and those that wait say what for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS
from smalt.kinds.jobs import distribution
from smalt.sched import quotas
from smalt.sched.sizes import SIZES, Size
from smalt.store.document import part


def size_of(spec: Mapping[str, Any]) -> Size | None:
    """Of a job's nodes; None: all that the machine has, which no quota counts."""
    return SIZES.get(str(part(spec, OURS).get("instance_type") or "").lower())


def check(connection: Connection, workspace: ResourceId, spec: Mapping[str, Any]) -> None:
    """Of a job that somebody submits; those that jobs submit wait. Raises ArmError(400)."""
    size = size_of(spec)
    most = quotas.of_workspace(connection, workspace.key).get(size.family) if size else None
    want = distribution.node_count(part(spec, "properties"))
    if size and most is not None and size.cpus * want > most:
        raise ArmError(
            400,
            "QuotaExceeded",
            f"properties.resources.instanceCount: {want} nodes of {size.name} are"
            f" {size.cpus * want} processors; the quota of {size.family} in workspace '{workspace.name}' is {most}."
            " Ask for fewer or smaller nodes, or have the quota raised.",
            "properties.resources.instanceCount",
        )
