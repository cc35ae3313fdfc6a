"""What a schedule asks of a batch endpoint: one request at each time, which becomes a job as any other request does.

    {"endpointName": NAME, "deploymentName": NAME, "properties": {"inputData": …, "outputData": …}}

The deployment is the endpoint's default at that time where none is named. `properties` are those of the body of a
request (`batch/asked.py`). Azure's specification leaves the definition open; these are the names of the client's
`invoke`.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document, Request
from smalt.arm.validation import nearest
from smalt.kinds.jobs.batch import invocation, jobs
from smalt.kinds.jobs.batch.asked import Asked
from smalt.kinds.jobs.fields import moved
from smalt.kinds.jobs.schedules.definition import Occasion, Taken, filled, origin
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Lock, Row

DEFINITION = "endpointInvocationDefinition"
FIELD = f"properties.action.{DEFINITION}"
_KNOWN = ("endpointName", "deploymentName", "properties")


def check(given: Document) -> None:
    """Raises ArmError(400) for what is no definition."""
    for name, value in given.items():
        if name not in _KNOWN:
            raise invalid(f"{FIELD}.{name} is not known here.{nearest(name, _KNOWN)}", f"{FIELD}.{name}")
        type_, what = (dict, "object") if name == "properties" else (str, "name")
        if value is not None and not isinstance(value, type_):
            raise invalid(f"{FIELD}.{name}: {str(value)[:80]!r} is no {what}.", f"{FIELD}.{name}")
    if not given.get("endpointName"):
        raise invalid(f"{FIELD}.endpointName is missing: the batch endpoint to ask.", f"{FIELD}.endpointName")


def taken(request: Request, connection: Connection, definition: Document, schedule: str, occasion: Occasion) -> Taken:
    """The job for this time, in the transaction that submits it. Raises ArmError, whose fields are the schedule's."""
    endpoint = _endpoint(connection, request.id.workspace, str(definition["endpointName"]))
    try:
        deployment = invocation.deployment_of(connection, endpoint, str(definition.get("deploymentName") or ""))
    except ArmError as error:  # the request is one of the schedule, whatever is not there
        named = f"{FIELD}.deploymentName" if definition.get("deploymentName") else f"{FIELD}.endpointName"
        raise ArmError(400, error.code, error.message, named) from None
    job = request.id.workspace.child("jobs", occasion.name)
    try:
        asked = Asked.of({"properties": filled(part(definition, "properties"), occasion)})
        if asked.name:
            raise invalid("properties.name: a schedule gives its jobs their names.", "properties.name")
        asked = replace(asked, display_name=f"{schedule}-{occasion.stamp}", properties=origin(schedule, occasion))
        admitted = invocation.taken(request, connection, endpoint, deployment, job, asked)
    except ArmError as error:
        raise moved(error, "properties", f"{FIELD}.properties") from None
    return Taken(admitted, jobs.ours(deployment), jobs.identity(endpoint))


def _endpoint(connection: Connection, workspace: ResourceId, name: str) -> Row:
    row = resources.get(connection, workspace.child("batchEndpoints", name).key, Lock.BELOW)
    if row is None or row.deleting:
        field = f"{FIELD}.endpointName"
        raise invalid(f"{field}: there is no batch endpoint '{name[:80]}' in '{workspace.name}'.", field)
    return row
