"""What a finished job leaves behind under a name: its named outputs become versions of data assets and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.assets import ensure_container, insert_version
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.kinds.jobs import lineage
from smalt.store import resources
from smalt.store.resources import Row

_MODELS = {"mlflow_model", "custom_model", "triton_model"}


def register(connection: Connection, row: Row, now: float) -> None:
    """In the transaction of the job's end; a version that exists already is left as it is.

    An output that was never made, as by a step that was skipped, becomes nothing.
    """
    workspace = ResourceId.parse(row.written).workspace
    places = {name: dict(place) for name, place in row.status["outputs"].items()}
    for name, given in row.properties["outputs"].items():
        if (asset := given.get("assetName")) and name in places:
            _version(connection, workspace, row, asset, given, places[name], now, name)
    resources.merge_status(connection, row.id, {"outputs": places})


def _version(
    connection: Connection,
    workspace: ResourceId,
    row: Row,
    asset: str,
    given: Mapping[str, Any],
    place: Document,
    now: float,
    output: str,
) -> None:
    type_ = place["jobOutputType"]
    model = type_ in _MODELS
    container = workspace.child("models" if model else "data", asset)
    above = ensure_container(connection, container, now, row.created_by)
    version = str(given.get("assetVersion") or above.status.get("next", 1))
    id_ = container.child("versions", version)
    if resources.get(connection, id_.key) is None:
        properties: Document = {
            "tags": {},
            "properties": {},
            "isAnonymous": False,
            "isArchived": False,
            "jobName": row.name,
        }
        if model:
            properties |= {"modelType": type_, "modelUri": place["uri"]}
        else:
            properties |= {"dataType": type_, "dataUri": place["uri"]}
        insert_version(connection, id_, properties, type_=type_, now=now, by=row.created_by, due=model)
        lineage.made(connection, row, output, id_, now)
    place |= {"assetName": asset, "assetVersion": version}
