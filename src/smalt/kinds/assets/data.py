"""Data assets: names and versions for a file, a folder or an MLTable in a datastore, or anywhere on the web."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Kind, Request
from smalt.arm.listing import carries
from smalt.kinds.assets import lineage, made
from smalt.kinds.assets.origins import noted
from smalt.kinds.assets.output_data import output_data
from smalt.kinds.assets.versions import (
    NAME,
    VersionProperties,
    admit_version,
    check_files,
    container,
    fixed_files,
    in_both_homes,
    version_removed,
)
from smalt.store.resources import Row


class DataProperties(VersionProperties):
    data_uri: str
    data_type: Literal["uri_file", "uri_folder", "mltable"] | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    if properties.get("properties"):
        properties["properties"] = made.without(properties["properties"])
    type_ = properties["dataType"] = properties.get("dataType") or "uri_folder"
    uri = properties["dataUri"]
    if old is None:
        uri = check_files(request, connection, uri, "properties.dataUri", input_type=type_)
    properties["dataUri"] = _folder_uri(uri, type_)
    spec = {**request.body, "properties": properties}
    fixed = fixed_files(request, connection, "dataUri", "dataType")
    admitted = admit_version(request, connection, old, fixed=fixed, spec=spec, type_=type_)
    return admitted if old else noted(request, admitted, request.body["properties"]["dataUri"], uri, "data")


def _folder_uri(uri: str, type_: str) -> str:
    """A folder in a datastore ends with a slash, as job outputs do.

    Clients upload one without it and read it with it.
    """
    in_datastore = uri.lower().startswith("azureml://") and "/paths/" in uri
    return f"{uri.rstrip('/')}/" if in_datastore and type_ != "uri_file" else uri


KINDS = in_both_homes(
    replace(container("workspaces/data", "data asset"), derived=output_data),
    Kind(
        path="workspaces/data/versions",
        title="data version",
        properties=DataProperties,
        admit=_admit,
        creates_parent=True,
        deleted=version_removed,
        derived=output_data,
        detail=made.by,
        origin=lambda connection, row: {
            "dataType": row.properties.get("dataType"),
            "uri": row.properties.get("dataUri"),
        },
        actions={"lineage": lineage.READ},
        name_pattern=NAME,
        list_filter=lambda row, query: carries(row.properties.get("tags"), query.get("$tags")),
    ),
)
