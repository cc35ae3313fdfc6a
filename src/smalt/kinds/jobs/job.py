"""Jobs: one resource kind, many types. This file is what all types share: admission, the document, cancel, archive.

A type is one file beside this one and one entry in `TYPES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from smalt.arm.crud import Answer
from smalt.arm.errors import ArmError, conflict, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Action, Admitted, Document, Kind, Request, Step
from smalt.arm.listing import carries, named
from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady
from smalt.arm.runs import JobRuns, described, held, is_run, untold
from smalt.arm.services import STUDIO, TRACKING, of_job
from smalt.kinds.assets import made
from smalt.kinds.assets.lineage import READ
from smalt.kinds.jobs import (
    accept,
    again,
    command,
    files,
    life,
    lineage,
    modes,
    pipeline,
    priority,
    provenance,
    queues,
    quota,
    readable,
    same_work,
    sweep,
    tracked_run,
)
from smalt.kinds.jobs.model import TERMINAL, TYPES, JobProperties, JobType
from smalt.kinds.jobs.pipelines import shown as steps
from smalt.kinds.jobs.sameness import Sameness
from smalt.kinds.jobs.schedules.definition import SCHEDULE
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps import shown as trials
from smalt.store import operations, resources
from smalt.store.document import part
from smalt.store.resources import Lock, Row

for _type in (command.TYPE, pipeline.TYPE, sweep.TYPE):
    TYPES[_type.name] = _type


def _type_of(row: Row) -> JobType:
    return tracked_run.TYPE if is_run(row) else accept.type_named(row.properties)


def _admit(request: Request, connection: Connection, old: Row | None) -> Admitted:
    if old is None:
        again.earlier(request, connection)  # refused, if it names none
        admitted = accept.new(request, connection)
        quota.check(connection, request.id.workspace, admitted.spec)
        return admitted
    type_ = _type_of(old)
    return _update(request, connection, old, accept.checked(type_, request), type_)


def _update(request: Request, connection: Connection, old: Row, properties: Document, type_: JobType) -> Admitted:
    """A job runs once: only what describes it can change."""
    asked = part(part(old.spec, OURS), "asked")
    here = Sameness(request.platform, connection, request.id.workspace)
    other = priority.changed(old, properties) if priority.SETTINGS in type_.fixed else None
    for name in type_.fixed:
        if other and name == priority.SETTINGS:
            continue
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
        kept["tags"] = accept.given(properties, "tags")
    archived = bool(kept.get("isArchived"))
    spec = described(old, kept, archived)
    if other:
        spec = priority.applied(spec, other)
    due = untold(replace(old, spec=spec)) is not None or (old.state not in TERMINAL and not is_run(old))
    return Admitted(spec, state=old.state, due=due, lookup=old.lookup, archived=archived)


def _reconcile(platform: Platform, row: Row) -> Step:
    step = same_work.step(platform, row) or _type_of(row).step(platform, row)
    if step.gone:
        platform.tracking.remove_run(ResourceId.parse(row.written).workspace.key, row.name)
    elif untold(row) is not None:
        _runs(platform).tell(row.id)
    return step


def _fail(platform: Platform, row: Row, error: Document) -> Step:
    return _type_of(row).fail(platform, row, error)


def _written(platform: Platform, row: Row) -> None:
    """The run hears of it before the client has its answer.

    Where MLflow cannot be reached now, the reconciler tells it.
    """
    if untold(row) is not None:
        with contextlib.suppress(NotReady):
            _runs(platform).tell(row.id)


def _runs(platform: Platform) -> JobRuns:
    return JobRuns(platform.database, platform.tracking, platform.clock)


def _parameters(platform: Platform, row: Row) -> Mapping[str, str]:
    if not (is_run(row) or JobStatus.is_tracked(row.status)):
        return {}
    try:
        return platform.tracking.parameters(ResourceId.parse(row.written).workspace.key, row.name)
    except NotReady:
        return {}


def _view(platform: Platform, row: Row) -> Document:
    workspace = ResourceId.parse(row.written).workspace
    tracking = f"azureml{platform.settings.url.removeprefix('https')}/mlflow/v2.0{workspace}"
    studio = f"{platform.settings.url}/studio/jobs/{row.name}?wsid={workspace}"
    places = JobStatus.outputs_of(row.status)
    properties = readable.properties(row.properties)
    ports = modes.shown({name: properties[name] for name in ("inputs", "outputs") if name in properties})
    if outputs := ports.get("outputs"):
        ports["outputs"] = {
            name: {**output, **{key: value for key, value in places.get(name, {}).items() if value}}
            for name, output in outputs.items()
        }
    shown: Document = {
        **properties,
        "status": row.state,
        **ports,
        "services": {
            **of_job(platform.servers.url_of(row.home) or platform.settings.url, row),
            TRACKING: {"endpoint": tracking, "jobServiceType": TRACKING, "port": None, "status": None},
            STUDIO: {"endpoint": studio, "jobServiceType": STUDIO, "port": None, "status": None},
        },
        "isArchived": row.archived,
    }
    if now := held(row):
        shown["properties"] = {**part(properties, "properties"), **now}
    shown["provisioningState"] = "Succeeded" if row.state == "Completed" else row.state
    return shown


def _detail(platform: Platform, row: Row) -> Document:
    own = made.what(platform, row) if row.state in TERMINAL else queues.position(platform, row)
    return {"parameters": _parameters(platform, row), **own}


def _cancel(request: Request, row: Row | None) -> tuple[int, Any]:
    assert row is not None
    platform = request.platform
    if is_run(row):
        return _end_run(platform, row, request.principal.name)
    with platform.database.write() as connection:
        current = resources.get(connection, row.id, Lock.WRITE)
        if current is None or current.state in TERMINAL:
            return 200, None
        life.ask_to_cancel(connection, current, request.principal.name, request.now)
        operation = operations.begin(connection, row.id, "cancel", current.generation + 1, request.now)
    platform.hub.notify(row.id)
    return 202, Answer(202, None, {}, operation)


def _end_run(platform: Platform, row: Row, by: str) -> tuple[int, Any]:
    """Nothing of a run that was made outside of a job is a process here: it is over when MLflow says so."""
    if row.state in TERMINAL:
        return 200, None
    workspace = ResourceId.parse(row.written).workspace.key
    try:
        platform.tracking.end_run(workspace, row.name, "KILLED", platform.clock())
        _runs(platform).take_over([row.name], by)
    except NotReady as error:
        raise ArmError(503, "ServiceUnavailable", str(error), headers={"Retry-After": "1"}) from error
    return 200, None


def _is_in(row: Row, environment: str) -> bool:
    """Whether a job is in the environment NAME:VERSION, of its workspace or of a registry."""
    name, _, version = environment.rpartition(":")
    given = str(row.properties.get("environmentId") or "").lower()
    return given == f"azureml:{name}:{version}" or given.endswith(f"/environments/{name}/versions/{version}")


def _filter(row: Row, query: Mapping[str, str]) -> bool:
    wanted = query.get("jobType")
    if wanted and row.properties.get("jobType", "").lower() != wanted.lower():
        return False
    tag = query.get("tag")
    if tag:
        name, _, value = tag.partition("=")
        tags = part(row.properties, "tags")
        if name not in tags or (value and tags[name] != value):
            return False
    scheduled = str(query.get("scheduled") or "").lower()
    if scheduled in ("true", "false") and (scheduled == "true") != (SCHEDULE in part(row.spec, OURS)):
        return False
    if (environment := query.get("environment")) and not _is_in(row, environment.lower()):
        return False
    if not named(row.state, query.get("status")) or not _is_sought(row, query):
        return False
    return carries(row.properties.get("properties"), query.get("properties"))


def _is_sought(row: Row, query: Mapping[str, str]) -> bool:
    """Of the experiment `experimentName`, and with each word of `search` in what people call the job."""
    experiment = row.properties.get("experimentName") or "Default"
    if (wanted := query.get("experimentName")) and experiment.lower() != wanted.lower():
        return False
    sought = query.get("search") or ""
    if len(sought) > SEARCH_MOST:
        raise invalid(f"search: at most {SEARCH_MOST} characters are looked for.", "search")
    if not (words := set(sought.lower().split())):
        return True
    tags = [f"{name}={value}" for name, value in part(row.properties, "tags").items()]
    said = [row.name, row.properties.get("displayName"), row.properties.get("description"), experiment, *tags]
    text = " ".join(str(one) for one in said if one).lower()
    return all(word in text for word in words)


SEARCH_MOST = 200  # characters
STATES = ("NotStarted", "Preparing", "Queued", "Starting", "Running", "Finalizing", "CancelRequested", "Completed",
          "Failed", "Canceled")  # fmt: skip

KIND = Kind(
    path="workspaces/jobs",
    title="job",
    properties=JobProperties,
    admit=_admit,
    reconcile=_reconcile,
    fail=_fail,
    view=_view,
    detail=_detail,
    written=_written,
    origin=lineage.origin,
    actions={
        "cancel": Action(_cancel),
        "provenance": provenance.READ,
        "environment": provenance.ENVIRONMENT,
        "again": again.READ,
        "lineage": READ,
        "steps": steps.READ,
        "trials": trials.READ,
        "files": files.LIST,
        "file": files.READ,
        "searchLog": files.SEARCH,
    },
    list_filter=_filter,
    list_lookup="scheduleId",
    list_states=STATES,
    list_names="names",
)
