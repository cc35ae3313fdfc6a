"""Models: versions of what a job wrote or a user uploaded, with the way back to the job."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import invalid
from smalt.arm.kind import Action, Admitted, Document, Kind, Request
from smalt.arm.platform import Platform
from smalt.kinds.uploads import pending_upload
from smalt.kinds.versions import NAME, VersionProperties, admit_version, container, version_removed
from smalt.store import resources
from smalt.store.resources import Row

_JOB = re.compile(r"(?:azureml://(?:.*/)?jobs/|runs:/)([^/]+)/", re.IGNORECASE)
_RUN_FOLDER = re.compile(r"/dcid\.([^/]+)/|/paths/azureml/([^/]+)/", re.IGNORECASE)


class ModelProperties(VersionProperties):
    model_uri: str
    model_type: str | None = None
    flavors: dict[str, Any] | None = None
    job_name: str | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    properties["modelType"] = properties.get("modelType") or "custom_model"
    if properties["modelType"] not in ("custom_model", "mlflow_model", "triton_model"):
        raise invalid(
            f"properties.modelType: '{properties['modelType']}' is not custom_model, mlflow_model or triton_model.",
            "properties.modelType",
        )
    named = _JOB.search(properties["modelUri"])
    job = properties.get("jobName") or (named.group(1) if named else None)
    if job is None and (found := _RUN_FOLDER.search(properties["modelUri"])):
        job = found.group(1) or found.group(2)
    if named and old is None:
        key = request.id.workspace.child("jobs", named.group(1)).key
        if resources.get(connection, key) is None:
            raise invalid(
                f"properties.modelUri: there is no job '{named.group(1)}' in this workspace.", "properties.modelUri"
            )
    if job:
        properties["jobName"] = job
    spec = {**request.body, "properties": properties}
    return admit_version(
        request, connection, old, fixed=("modelUri", "modelType"), spec=spec, type_=properties["modelType"]
    )


def _view(platform: Platform, row: Row) -> Document:
    return {"flavors": row.properties.get("flavors") or {}, "jobName": row.properties.get("jobName")}


KINDS = [
    container("workspaces/models", "model"),
    Kind(
        path="workspaces/models/versions",
        title="model version",
        properties=ModelProperties,
        admit=_admit,
        view=_view,
        creates_parent=True,
        actions={"startPendingUpload": Action(pending_upload, needs_row=False)},
        deleted=version_removed,
        name_pattern=NAME,
    ),
]
