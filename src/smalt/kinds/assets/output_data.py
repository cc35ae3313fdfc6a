"""Outputs of jobs as data assets: `azureml_JOB_output_data_OUTPUT`, version 1, as clients know them.

They follow from the jobs, so there is no row of them, and lists of data assets show those that somebody named. One that
is written to (tagged, archived) gets its row then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.runs import STATUSES
from smalt.store import resources
from smalt.store.resources import Row

VERSION = "1"
_TYPES = frozenset({"uri_file", "uri_folder", "mltable"})
_BETWEEN = "_output_data_"


def output_data(connection: Connection, id_: ResourceId) -> Row | None:
    """The row that a data asset, or its version, would have that is an ended job's output; None for all else."""
    for job, output in _named(id_.ancestor("data")):
        row = resources.get(connection, id_.workspace.child("jobs", job).key)
        place = (row.status.get("outputs") or {}).get(output) if row is not None and row.state in STATUSES else None
        if row is None or place is None or place["jobOutputType"] not in _TYPES:
            continue
        version = id_.ancestor("versions")
        if not version:
            return _row(id_, row, {"tags": {}}, {"latest": VERSION, "next": 2, "type": place["jobOutputType"]})
        properties = {
            "dataType": place["jobOutputType"],
            "dataUri": place["uri"],
            "tags": {},
            "properties": {},
            "isAnonymous": False,
            "isArchived": False,
        }
        return _row(id_, row, properties, {}) if version == VERSION else None
    return None


def _named(name: str) -> Iterator[tuple[str, str]]:
    """(job, output) that the asset's name may stand for: either may have the words between them in its own name."""
    rest = name.removeprefix("azureml_") if name.startswith("azureml_") else ""
    for found in re.finditer(f"(?={_BETWEEN})", rest):
        yield rest[: found.start()], rest[found.start() + len(_BETWEEN) :]


def _row(id_: ResourceId, job: Row, properties: dict[str, Any], status: dict[str, Any]) -> Row:
    at = float(job.status.get("ended_at") or job.changed_at)
    home = ResourceId.parse(job.written).workspace
    written = home.child("data", id_.ancestor("data"))
    if version := id_.ancestor("versions"):
        written = written.child("versions", version)
    return Row(
        id=id_.key,
        written=str(written),
        kind=id_.kind,
        parent=id_.parent.key,
        name=id_.name,
        spec={"properties": properties},
        status=status,
        state="Succeeded",
        generation=1,
        observed=1,
        archived=False,
        lookup=None,
        deleting=False,
        due_at=None,
        failures=0,
        lease=None,
        lease_until=None,
        created_at=at,
        changed_at=at,
        created_by=job.created_by,
        changed_by=job.created_by,
        ended_at=job.ended_at,
    )
