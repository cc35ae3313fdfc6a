"""How a new job of any type is taken, be it a client's or another job's child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import OURS, Admitted, Document, Kind, Request
from smalt.arm.runs import RUN_TYPE, SHOWN_ONLY, begun_alike
from smalt.arm.validation import check_properties, nearest
from smalt.kinds.assets import made
from smalt.kinds.jobs import authors, identity
from smalt.kinds.jobs.model import POSITION, TYPES, JobType
from smalt.kinds.process_settings import check_isolation
from smalt.store import resources
from smalt.store.document import part

_LATER = {"AutoML", "Spark", "Labeling", "FineTuning"}


def type_named(properties: Mapping[str, Any]) -> JobType:
    """Raises ArmError(400)."""
    name = str(properties.get("jobType"))
    if name in TYPES:
        return TYPES[name]
    if name in _LATER:
        raise ArmError(
            400,
            "UnsupportedJobType",
            f"properties.jobType: {name} jobs cannot run on this version of the server yet;"
            f" it runs: {', '.join(TYPES)}.",
            "properties.jobType",
        )
    hint = nearest(name, [*TYPES, *_LATER])
    raise invalid(f"properties.jobType: '{name}' is no type of job.{hint}", "properties.jobType")


def checked(type_: JobType, request: Request) -> Document:
    declared = Kind(path="jobs", title=f"{type_.name} job", properties=type_.properties)
    return check_properties(declared, request.body["properties"])


def new(request: Request, connection: Connection) -> Admitted:
    """Raises ArmError."""
    type_ = type_named(request.body["properties"])
    properties = checked(type_, request)
    check_isolation(request.platform, request.principal)
    properties.pop("status", None)
    properties["experimentName"] = properties.get("experimentName") or "Default"
    properties["displayName"] = properties.get("displayName") or request.id.name
    for field in ("tags", "properties", "inputs", "outputs"):
        properties[field] = given(properties, field)
    properties["outputs"].pop("default", None)
    for shown in (POSITION, *SHOWN_ONLY):
        properties["properties"].pop(shown, None)
    properties["properties"] = made.without(properties["properties"])
    asked = {name: properties.get(name) for name in type_.fixed}
    admitted = type_.admit(request, connection, properties)
    ours = {**part(admitted.spec, OURS), **authors.of(request, connection), "asked": asked, RUN_TYPE: type_.run_type}
    ours |= identity.check(connection, properties, ours)
    if compute := ours.get("compute"):
        authors.check_trusted(ours, resources.get(connection, str(compute)))
    return replace(admitted, spec={**admitted.spec, OURS: begun_alike(ours)})


def given(properties: Document, field: str) -> Document:
    return {key: value for key, value in part(properties, field).items() if value is not None}
