"""Data assets: names and versions for a file, a folder or an MLTable in a datastore, or anywhere on the web."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sqlalchemy import Connection

from smalt.arm.kind import Admitted, Kind, Request
from smalt.kinds.output_data import output_data
from smalt.kinds.versions import NAME, VersionProperties, admit_version, container, version_removed
from smalt.store.resources import Row


class DataProperties(VersionProperties):
    data_uri: str
    data_type: Literal["uri_file", "uri_folder", "mltable"] = "uri_folder"


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    properties.setdefault("dataType", "uri_folder")
    properties["dataUri"] = _folder_uri(properties["dataUri"], properties["dataType"])
    spec = {**request.body, "properties": properties}
    return admit_version(
        request, connection, old, fixed=("dataUri", "dataType"), spec=spec, type_=properties["dataType"]
    )


def _folder_uri(uri: str, type_: str) -> str:
    """A folder in a datastore ends with a slash, as job outputs do: clients upload one without it and read it with it."""
    in_datastore = uri.lower().startswith("azureml://") and "/paths/" in uri
    return f"{uri.rstrip('/')}/" if in_datastore and type_ != "uri_file" else uri


KINDS = [
    replace(container("workspaces/data", "data asset"), derived=output_data),
    Kind(
        path="workspaces/data/versions",
        title="data version",
        properties=DataProperties,
        admit=_admit,
        creates_parent=True,
        deleted=version_removed,
        derived=output_data,
        name_pattern=NAME,
    ),
]
