"""What a schedule submits: a job definition of any type, as it is kept, and as it is for one time.

It is taken as a client's job would be, so what is wrong with it is said when the schedule is made. What it names
(`@latest`, too) is looked up at each time anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self, cast

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Request
from smalt.arm.runs import is_run
from smalt.kinds.jobs import accept
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

FIELD = "properties.action.jobDefinition"
SCHEDULE = "schedule"  # in a job's own part of the spec: the identity of the schedule that submitted it
_ID, TIME = "azureml.scheduleId", "azureml.scheduleTime"  # properties of a job
_SOURCE = "sourceJobId"
# Of a job that a schedule takes as its definition these are that job's own.
_ITS_OWN = ("displayName", "experimentName", "isArchived", "status", "properties")
_EMPTY: tuple[Any, ...] = ("", {}, [])  # nothing that is put over what the job says
_PORTS = ("inputs", "outputs", "inputdata", "outputdata")
_TRIGGER_TIME = re.compile(r"\$\{\{\s*creation_context\.trigger_time\s*\}\}")
_NAME = re.compile(r"\$\{\{\s*name\s*\}\}")
_PLACE = re.compile(r"(?<![\w.])properties\.(?=[a-zA-Z])")


@dataclass(frozen=True)
class Occasion:
    """One job to be: its name, and the time that it is for, in seconds since the epoch."""

    name: str
    at: int

    @classmethod
    def of(cls, schedule: str, at: int) -> Self:
        """Clients take names of jobs in lower case alone."""
        return cls(f"{schedule}-{_stamp(at)}".lower(), at)

    @property
    def stamp(self) -> str:
        """As Azure has it in display names: 20210101T060000Z."""
        return _stamp(self.at)

    @property
    def written(self) -> str:
        return f"{_utc(self.at):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Taken:
    """A job that was admitted. `ours`: what its spec's own part has besides; `lookup`: by which it is found again."""

    admitted: Admitted
    ours: Document
    lookup: str


def complete(request: Request, connection: Connection, given: Document, old: Row | None) -> Document:
    """The definition as it is kept: where it names a job (`sourceJobId`), that job's with what is given over it.

    Raises ArmError(400).
    """
    if not given.get(_SOURCE):
        return given
    known = part(part(old.properties, "action"), "jobDefinition") if old else {}
    same = known.get(_SOURCE) == given[_SOURCE]  # it may be gone since
    base = known if same else _of_job(request, connection, str(given[_SOURCE]))
    result = dict(base)
    for name, value in given.items():
        if name in ("jobType", "isArchived") or value is None or (name in base and value in _EMPTY):
            continue
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        result[name] = {**base[name], **value} if both else value
    return result


def _of_job(request: Request, connection: Connection, source: str) -> Document:
    workspace, field = request.id.workspace, f"{FIELD}.{_SOURCE}"
    text = source.removeprefix("azureml:")
    try:
        id_ = ResourceId.parse(text)
    except NotAnId:
        id_ = workspace.child("jobs", text)
    row = resources.get(connection, id_.key)
    if id_.kind != "workspaces/jobs" or id_.workspace.key != workspace.key or row is None or row.deleting:
        raise invalid(f"{field}: there is no job '{source[:200]}' in workspace '{workspace.name}'.", field)
    if is_run(row):
        raise invalid(
            f"{field}: '{row.name}' is a run that was made outside of a job; nothing can run it again.", field
        )
    asked = {name: value for name, value in part(row.spec[OURS], "asked").items() if value is not None}
    return {name: value for name, value in {**row.properties, **asked}.items() if name not in _ITS_OWN}


def properties(definition: Document, schedule: str, occasion: Occasion) -> Document:
    """Of the job for this time, as a client would send them."""
    found = filled(definition, occasion)
    found.pop(_SOURCE, None)
    given = found.get("properties")
    if given is None or isinstance(given, dict):  # what is neither is refused with the job
        found["properties"] = {**part(found, "properties"), **origin(schedule, occasion)}
    return {
        **found,
        "displayName": f"{schedule}-{occasion.stamp}",
        "experimentName": found.get("experimentName") or schedule,
        "isArchived": False,
    }


def origin(schedule: str, occasion: Occasion) -> dict[str, str]:
    """Properties of a job by which it is known whose it is."""
    return {_ID: schedule, TIME: occasion.written}


def filled(definition: Document, occasion: Occasion) -> Document:
    """With the time and, in what is read and written, the job's name in place of Azure's expressions for them."""
    found = _filled(definition, lambda text: _TRIGGER_TIME.sub(occasion.written, text))
    for name in (one for one in found if one.lower() in _PORTS):
        found[name] = _filled(found[name], lambda text: _NAME.sub(occasion.name, text))
    return found


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {key: _filled(one, fill) for key, one in cast("Mapping[str, Any]", value).items()}
    return [_filled(one, fill) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def taken(request: Request, connection: Connection, definition: Document, schedule: str, occasion: Occasion) -> Taken:
    """The job for this time. Raises ArmError, whose fields are those of the schedule's document."""
    id_ = request.id.workspace.child("jobs", occasion.name)
    body = {"properties": properties(definition, schedule, occasion)}
    try:
        return Taken(accept.new(replace(request, id=id_, body=body, patched=False), connection), {}, schedule)
    except ArmError as error:
        raise _within(error) from None


def _within(error: ArmError) -> ArmError:
    return ArmError(
        error.status,
        error.code,
        _PLACE.sub(f"{FIELD}.", error.message),
        _PLACE.sub(f"{FIELD}.", error.target) if error.target else FIELD,
        [_within(one) for one in error.details],
        error.headers,
    )


def _stamp(seconds: int) -> str:
    return f"{_utc(seconds):%Y%m%dT%H%M%SZ}"


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
