"""Models: versions of what a job wrote or a user uploaded, with the way back to the job.

MLflow's registry shows those of workspaces too: the reconcilers here write them there, and delete them there after they
were deleted here. Those of a registry (`registries/models`) are rows alone: MLflow knows workspaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import BULK, INTERNAL, Action, Admitted, Document, Kind, Request, Step, keep_trying
from smalt.arm.listing import carries
from smalt.arm.models import CONTENT, MODELS, NEWS, SHOWN, VERSIONS, note_content, tags_of, tell, version_of
from smalt.arm.platform import Platform
from smalt.kinds.assets import lineage, made, model_content, references, registries
from smalt.kinds.assets.model_package import PACKAGED
from smalt.kinds.assets.origins import noted
from smalt.kinds.assets.references import Place
from smalt.kinds.assets.uploads import pending_upload
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
from smalt.store import resources
from smalt.store.resources import Lock, Row

_JOB = re.compile(r"(?:azureml://(?:.*/)?jobs/|runs:/)([^/]+)/", re.IGNORECASE)
_RUN_FOLDER = re.compile(r"/dcid\.([^/]+)/|/paths/azureml/([^/]+)/", re.IGNORECASE)


class ModelProperties(VersionProperties):
    model_uri: str
    model_type: str | None = None
    flavors: dict[str, Any] | None = None
    job_name: str | None = None


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    properties = dict(request.body["properties"])
    if properties.get("properties"):
        properties["properties"] = made.without(properties["properties"])
    properties["modelType"] = properties.get("modelType") or "custom_model"
    if properties["modelType"] not in ("custom_model", "mlflow_model", "triton_model"):
        raise invalid(
            f"properties.modelType: '{properties['modelType']}' is not custom_model, mlflow_model or triton_model.",
            "properties.modelType",
        )
    uri = properties["modelUri"]
    named = _JOB.search(uri)
    if old is None:  # as on Azure the version says where the files are: clients download from there
        uri = properties["modelUri"] = check_files(request, connection, uri, "properties.modelUri", "models")
    job = properties.get("jobName") or (named.group(1) if named else None)
    if job is None and (found := _RUN_FOLDER.search(uri)):
        job = found.group(1) or found.group(2)
    job = job or (old.properties.get("jobName") if old else None)
    if job:
        properties["jobName"] = job
    spec = {**request.body, "properties": properties}
    fixed = fixed_files(request, connection, "modelUri", "modelType")
    admitted = admit_version(request, connection, old, fixed=fixed, spec=spec, type_=properties["modelType"])
    if old is None:
        admitted = noted(request, admitted, request.body["properties"]["modelUri"], uri, "models", job or "")
    if old is None and request.id.home.kind == registries.PATH:  # a workspace's is hashed when MLflow shows it
        admitted = _hashed(request, admitted)
    return replace(admitted, due=True)


def _hashed(request: Request, admitted: Admitted) -> Admitted:
    """And then its files are hashed."""

    def writes(connection: Connection) -> None:
        if admitted.writes is not None:
            admitted.writes(connection)
        note_content(connection, str(request.id), request.now, request.now)

    return replace(admitted, writes=writes)


def _view(platform: Platform, row: Row) -> Document:
    return {"flavors": row.properties.get("flavors") or {}, "jobName": row.properties.get("jobName")}


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    exact = {
        "stage": row.properties.get("stage"),
        "description": row.properties.get("description"),
        "version": row.name,
    }
    return all(value == query[name] for name, value in exact.items() if query.get(name)) and all(
        carries(row.properties.get(name), query.get(name)) for name in ("tags", "properties")
    )


def _show(platform: Platform, row: Row) -> Step:
    """A version as MLflow shows it."""
    id_ = ResourceId.parse(row.written)
    if row.deleting:
        platform.models.remove_version(id_.home.key, id_.ancestor("models"), row.name)
        return Step(row.state, row.status, gone=True)
    account, place = _place(platform, id_.home, str(row.properties["modelUri"]))
    own = bool(place.account) and place.account == account
    platform.models.ensure_version(version_of(row, place.container, place.path) if own else version_of(row))

    def writes(connection: Connection) -> None:
        if model_content.registered(row) is None:
            note_content(connection, row.written, row.created_at, platform.clock())

    return Step("Succeeded", {**row.status, SHOWN: True}, done=True, writes=writes)


def _place(platform: Platform, workspace: ResourceId, uri: str) -> tuple[str, Place]:
    """The workspace's storage account, and where the files are; an empty place where that cannot be said (any more)."""
    with platform.database.read() as connection:
        home = resources.get(connection, workspace.key)
        account = str(home.status.get("account", "")) if home else ""
        try:
            return account, references.locate(platform, connection, workspace, uri, "properties.modelUri")
        except ArmError:
            return account, Place(uri)


def _admit_model(request: Request, connection: Connection, old: Row | None) -> Admitted:
    archived = bool(request.body["properties"].get("isArchived"))
    return Admitted(
        request.body, archived=archived, writes=lambda connection: tell(connection, str(request.id), request.now)
    )


def _version_removed(connection: Connection, row: Row, now: float) -> None:
    version_removed(connection, row, now)
    _removed(connection, row, now)


def _removed(connection: Connection, row: Row, now: float) -> None:
    if not row.deleting:  # otherwise its own reconciler has deleted it from MLflow
        tell(connection, row.written, now)


def _tell(platform: Platform, row: Row) -> Step:
    """MLflow shows what there is now: what is gone is deleted there, a model has its description and tags."""
    id_ = ResourceId.parse(row.spec["about"])
    workspace = id_.home.key
    with platform.database.read() as connection:
        found = resources.get(connection, id_.key)
    if id_.kind == MODELS and found is not None:
        platform.models.ensure_model(workspace, found.name, found.properties.get("description"), tags_of(found))
    elif id_.kind == MODELS:
        platform.models.remove_model(workspace, id_.name)
    elif found is None:
        platform.models.remove_version(workspace, id_.ancestor("models"), id_.name)
    return Step(row.state, row.status, gone=True)


def _note_content(platform: Platform, row: Row) -> Step:
    """What is in a new version's files goes into its status."""
    id_ = ResourceId.parse(row.spec["about"])
    with platform.database.read() as connection:
        found = resources.get(connection, id_.key)
    if found is None or model_content.registered(found) is not None:
        return Step(row.state, row.status, gone=True)
    _, place = _place(platform, id_.home, str(found.properties["modelUri"]))
    content = model_content.taken(platform, place.ref(folder=False)) if place.account else model_content.ELSEWHERE

    def writes(connection: Connection) -> None:
        now = resources.get(connection, found.id, Lock.WRITE)
        if now is not None and now.created_at == found.created_at:  # else it was made anew, and has a row of its own
            resources.merge_status(connection, found.id, {model_content.CONTENT: content})

    return Step(row.state, row.status, gone=True, writes=writes)


def _told(connection: Connection, row: Row, now: float) -> None:
    """A version that was made again meanwhile may have been deleted from MLflow just now: it is shown once more."""
    id_ = ResourceId.parse(row.spec["about"])
    if id_.kind == VERSIONS:
        resources.poke(connection, [id_.key], now)


KINDS = [
    *in_both_homes(
        replace(container(MODELS, "model"), admit=_admit_model, deleted=_removed),
        Kind(
            path=VERSIONS,
            title="model version",
            properties=ModelProperties,
            admit=_admit,
            reconcile=_show,
            fail=keep_trying,
            view=_view,
            creates_parent=True,
            actions={
                "startPendingUpload": Action(pending_upload, needs_row=False),
                "lineage": lineage.READ,
                "package": PACKAGED,
            },
            detail=made.by,
            origin=lambda connection, row: {
                "modelType": row.properties.get("modelType"),
                "uri": row.properties.get("modelUri"),
            },
            deleted=_version_removed,
            delete_at_once=True,
            list_filter=_filter,
            name_pattern=NAME,
        ),
    ),
    Kind(path=NEWS, title="news for MLflow", scopes=INTERNAL, reconcile=_tell, fail=keep_trying, deleted=_told),
    Kind(
        path=CONTENT,
        title="model to be hashed",
        scopes=INTERNAL,
        lane=BULK,
        reconcile=_note_content,
        fail=keep_trying,
    ),
]
