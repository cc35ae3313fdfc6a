"""Jobs: one resource kind, many types. This file is what all types share: admission, the document, cancel, archive.

A type is one file beside this one and one entry in `TYPES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.crud import Answer
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.kind import OURS, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import check_properties, nearest
from smalt.kinds.jobs import command
from smalt.kinds.jobs.model import CANCEL, TERMINAL, JobProperties, JobType
from smalt.kinds.jobs.sameness import Sameness
from smalt.store import operations, resources
from smalt.store.resources import Row

TYPES: dict[str, JobType] = {command.TYPE.name: command.TYPE}
_LATER = {"AutoML", "Pipeline", "Sweep", "Spark", "Labeling", "FineTuning"}


def _type_of(properties: Mapping[str, Any]) -> JobType:
    name = str(properties.get("jobType"))
    if name in TYPES:
        return TYPES[name]
    if name in _LATER:
        raise ArmError(
            400, "UnsupportedJobType", f"properties.jobType: {name} jobs cannot run on this version of the server yet;"
            f" it runs: {', '.join(TYPES)}.", "properties.jobType",
        )  # fmt: skip
    hint = nearest(name, [*TYPES, *_LATER])
    raise invalid(f"properties.jobType: '{name}' is no type of job.{hint}", "properties.jobType")


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    type_ = _type_of(request.body["properties"])
    declared = Kind(path="jobs", title=f"{type_.name} job", properties=type_.properties)
    properties = check_properties(declared, request.body["properties"])
    if old is not None:
        return _update(request, connection, old, properties, type_)
    properties.pop("status", None)
    properties["experimentName"] = properties.get("experimentName") or "Default"
    properties["displayName"] = properties.get("displayName") or request.id.name
    for field in ("tags", "properties", "inputs", "outputs"):
        properties[field] = _given(properties, field)
    properties["outputs"].pop("default", None)
    asked = {name: properties.get(name) for name in type_.fixed}
    admitted = type_.admit(request, connection, properties)
    return replace(admitted, spec={**admitted.spec, OURS: {**(admitted.spec.get(OURS) or {}), "asked": asked}})


def _given(properties: Document, field: str) -> Document:
    return {key: value for key, value in (properties.get(field) or {}).items() if value is not None}


def _update(request: Request, connection: Connection, old: Row, properties: Document, type_: JobType) -> Admitted:
    """A job runs once: only what describes it can change."""
    asked = (old.spec.get(OURS) or {}).get("asked") or {}
    here = Sameness(request.platform, connection, request.id.workspace)
    for name in type_.fixed:
        if not here.same(name, properties.get(name), old.properties.get(name), asked.get(name)):
            raise conflict(
                f"Job '{old.name}' exists already; properties.{name} cannot change. Submit it under a new name.",
                f"properties.{name}",
            )
    kept = dict(old.properties)
    for name in ("displayName", "description", "isArchived"):
        if properties.get(name) is not None:
            kept[name] = properties[name]
    if "tags" in properties:
        kept["tags"] = _given(properties, "tags")
    spec = {**old.spec, "properties": kept}
    return Admitted(
        spec, state=old.state, due=old.state not in TERMINAL, lookup=old.lookup, archived=bool(kept.get("isArchived"))
    )


def _reconcile(platform: Platform, row: Row) -> Step:
    return _type_of(row.properties).step(platform, row)


def _fail(platform: Platform, row: Row, error: Document) -> Step:
    return _type_of(row.properties).fail(platform, row, error)


def _view(platform: Platform, row: Row) -> Document:
    tracking = f"{platform.settings.url}/mlflow/v1.0{row.written.rpartition('/jobs/')[0]}"
    studio = f"{platform.settings.url}/jobs/{row.name}?wsid={row.written.rpartition('/jobs/')[0]}"
    outputs = {
        name: {
            **output,
            **{key: value for key, value in (row.status.get("outputs") or {}).get(name, {}).items() if value},
        }
        for name, output in (row.properties.get("outputs") or {}).items()
    }
    shown: Document = {
        "status": row.state,
        "outputs": outputs,
        "services": {
            "Tracking": {"endpoint": tracking, "jobServiceType": "Tracking", "port": None, "status": None},
            "Studio": {"endpoint": studio, "jobServiceType": "Studio", "port": None, "status": None},
        },
        "isArchived": row.archived,
    }
    shown["provisioningState"] = "Succeeded" if row.state == "Completed" else row.state
    return shown


def _cancel(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    platform = request.platform
    with platform.database.write() as connection:
        current = resources.get(connection, row.id)
        if current is None or current.state in TERMINAL:
            return 200, None
        ours = {**(current.spec.get(OURS) or {}), CANCEL: True}
        resources.replace_spec(
            connection, current, {**current.spec, OURS: ours}, state="CancelRequested", now=request.now,
            by=request.principal.name, due=True, reason="cancel requested",
        )  # fmt: skip
        operation = operations.begin(connection, row.id, "cancel", current.generation + 1, request.now)
    platform.hub.notify(row.id)
    return 202, Answer(202, None, {}, operation)


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    wanted = query.get("jobType")
    if wanted and row.properties.get("jobType", "").lower() != wanted.lower():
        return False
    tag = query.get("tag")
    if tag:
        name, _, value = tag.partition("=")
        tags = row.properties.get("tags") or {}
        return name in tags and (not value or tags[name] == value)
    return True


KIND = Kind(
    path="workspaces/jobs",
    title="job",
    properties=JobProperties,
    admit=_admit,
    reconcile=_reconcile,
    fail=_fail,
    view=_view,
    actions={"cancel": Action(_cancel)},
    list_filter=_filter,
)
