"""What schedules do at their times: each action's definition as it is kept and shown, and the job that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document, Request
from smalt.arm.validation import nearest
from smalt.kinds.jobs import modes, readable
from smalt.kinds.jobs.schedules import definition, endpoint
from smalt.kinds.jobs.schedules.definition import Occasion, Taken
from smalt.store.document import part
from smalt.store.resources import Row

CREATE_JOB, INVOKE = "CreateJob", "InvokeBatchEndpoint"
_DEFINITIONS = {CREATE_JOB: "jobDefinition", INVOKE: endpoint.DEFINITION}
_LATER = ("CreateMonitor", "ImportData")


def complete(request: Request, connection: Connection, given: Mapping[str, Any], old: Row | None) -> Document:
    """The action as it is kept, with the whole definition. Raises ArmError(400)."""
    asked, field = str(given["actionType"]), "properties.action.actionType"
    type_ = next((one for one in _DEFINITIONS if one.lower() == asked.lower()), "")
    if asked.lower() in (one.lower() for one in _LATER):
        message = f"{field}: schedules with the action {asked} cannot run on this version of the server yet; it runs"
        raise ArmError(400, "UnsupportedScheduleAction", f"{message} {' and '.join(_DEFINITIONS)}.", field)
    if not type_:
        hint = nearest(asked, list(_DEFINITIONS))
        raise invalid(f"{field}: '{asked[:80]}' is no action; give {' or '.join(_DEFINITIONS)}.{hint}", field)
    name = _DEFINITIONS[type_]
    if not given.get(name):
        what = "the job that is to be submitted" if type_ == CREATE_JOB else "what the endpoint is to be asked"
        raise invalid(f"properties.action.{name} is missing: {what}.", f"properties.action.{name}")
    kept = {key: value for key, value in given.items() if key == name or key not in _DEFINITIONS.values()}
    if type_ == INVOKE:
        endpoint.check(given[name])
        return {**kept, "actionType": INVOKE}
    whole = definition.complete(request, connection, given[name], old)
    known = part(part(old.properties, "action"), name) if old else {}
    return {**kept, name: modes.without_shown(whole, known)}


def taken(request: Request, connection: Connection, action: Document, schedule: str, occasion: Occasion) -> Taken:
    """The job for this time. Raises ArmError, whose fields are those of the schedule's document."""
    if type_of(action) == INVOKE:
        return endpoint.taken(request, connection, part(action, endpoint.DEFINITION), schedule, occasion)
    return definition.taken(request, connection, part(action, _DEFINITIONS[CREATE_JOB]), schedule, occasion)


def type_of(action: Document) -> str:
    return INVOKE if action["actionType"] == INVOKE else CREATE_JOB


def shown(action: Document) -> Document:
    name = _DEFINITIONS[CREATE_JOB]
    return {**action, name: readable.properties(modes.shown(action[name]))} if name in action else action
