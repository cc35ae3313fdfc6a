"""The jobs that an endpoint's requests have made, for its clients: one, those of a deployment, and all.

They follow from the jobs of the workspace, which know whose they are, and have no rows of their own. So jobs outlive
their endpoint, and a new endpoint of an old name begins without any.
"""

from __future__ import annotations

from typing import Any

from smalt.arm.errors import not_found
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document, Kind, Request
from smalt.arm.listing import Paging, collect, next_link
from smalt.arm.runs import JOBS
from smalt.kinds.jobs.batch.asked import TYPES
from smalt.kinds.jobs.launch import job_oid
from smalt.store import pages, resources
from smalt.store.document import part
from smalt.store.resources import Row

BATCH = "batch"  # in a job's own part of the spec: {"deployment": a name, "request": what its repetitions share}
_DEPLOYMENT = "deployments"
_SPELLED = {ours: theirs for theirs, ours in TYPES.items()}


def identity(endpoint: Row) -> str:
    """Another one for an endpoint that is made again under an old name; jobs are found by it."""
    return f"batch-{job_oid(endpoint)}"


def ours(deployment: Row, repeated: str = "") -> Document:
    """What the own part of its spec has besides; `repeated`: what a request and its repetitions share."""
    return {BATCH: {"deployment": deployment.name, "request": repeated}}


def of(row: Row) -> Document:
    return part(part(row.spec, OURS), BATCH)


def document(row: Row) -> Document:
    """A job as the clients of endpoints read it."""
    properties = row.properties
    return {
        "id": row.written,
        "name": row.name,
        "type": "Microsoft.MachineLearningServices/workspaces/jobs",
        "properties": {
            "name": row.name,
            "status": row.state,
            "tags": part(properties, "tags"),
            "properties": part(properties, "properties"),
            "inputData": _ports(properties, "inputs", "jobInputType"),
            "outputData": _ports(properties, "outputs", "jobOutputType"),
        },
    }


def _ports(properties: Document, which: str, type_: str) -> Document:
    """With types spelled as in requests: the older official client knows no others."""
    ports = {name: part(part(properties, which), name) for name in part(properties, which)}
    return {name: {**port, type_: _SPELLED.get(str(port.get(type_)), port.get(type_))} for name, port in ports.items()}


def _list(request: Request) -> tuple[int, Any]:
    above, paging = request.id, Paging.of(request.query)
    deployment = above.ancestor(_DEPLOYMENT).lower()
    with request.platform.database.read() as connection:
        endpoint = _endpoint(connection, above)

        def fetch(most: int, skip: str | None) -> pages.Page:
            workspace = above.workspace.key
            return pages.page(
                connection, JOBS, workspace, most=most, skip=skip, archived=None, lookup=identity(endpoint)
            )

        def shown(row: Row) -> bool:
            return not deployment or _deployment(row) == deployment

        rows, skip = collect(fetch, shown, paging)
    body: Document = {"value": [document(row) for row in rows]}
    url = f"{request.platform.settings.url}{above}/jobs"
    if skip and (link := next_link(url, request.query, skip, paging, len(rows))):
        body["nextLink"] = link
    return 200, body


def _get(request: Request) -> tuple[int, Any]:
    id_ = request.id
    deployment = id_.ancestor(_DEPLOYMENT).lower()
    with request.platform.database.read() as connection:
        endpoint = _endpoint(connection, id_.parent)
        row = resources.get(connection, id_.workspace.child("jobs", id_.name).key)
    if row is None or row.lookup != identity(endpoint) or deployment not in ("", _deployment(row)):
        raise not_found("Batch job", id_.name)
    return 200, document(row)


def _endpoint(connection: Any, below: ResourceId) -> Row:
    name = below.ancestor("batchEndpoints")
    row = resources.get(connection, below.workspace.child("batchEndpoints", name).key)
    if row is None:
        raise not_found("Batch endpoint", name)
    return row


def _deployment(row: Row) -> str:
    return str(of(row).get("deployment") or "").lower()


KINDS = [
    Kind(path=f"{path}/jobs", title="batch job", verbs={"LIST": _list, "GET": _get})
    for path in ("workspaces/batchEndpoints", "workspaces/batchEndpoints/deployments")
]
