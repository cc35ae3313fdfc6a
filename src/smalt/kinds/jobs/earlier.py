"""Rows that were there before lineage was written get their edges, a piece at a time.

All rows are gone through twice in the order of their ids: first where jobs wrote to, then what came of what. What is
there already stays, so a piece may be done again, and servers of two versions may work meanwhile.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import INTERNAL, OURS, Kind, Step, keep_trying
from smalt.arm.platform import Platform
from smalt.arm.runs import JOBS
from smalt.kinds.assets import references
from smalt.kinds.assets.origins import origins
from smalt.kinds.jobs import lineage as of_jobs
from smalt.kinds.jobs.pinned import PINNED
from smalt.store import lineage, resources
from smalt.store.document import part
from smalt.store.lineage import TRACED, Link
from smalt.store.resources import Row
from smalt.store.tables import resource

_KEY = "/smalt/earlierrows/all"
_AT_ONCE = 200
_PAUSE_S = 0.05  # others write, too
_PASSES = 2


def watch(connection: Connection, now: float) -> None:
    """At the start of a server: what is left to be done goes on."""
    if resources.get(connection, _KEY) is None:
        resources.insert_own(connection, _KEY, "earlierrows", "all", now)


def _step(platform: Platform, row: Row) -> Step:
    number, after = int(row.status.get("pass", 0)), str(row.status.get("after", ""))
    if number >= _PASSES:
        return Step("Succeeded", row.status, done=True)
    with platform.database.read() as connection:
        query = select(resource).where(resource.c.id > after).order_by(resource.c.id).limit(_AT_ONCE)
        rows = [resources.read(found) for found in connection.execute(query)]
    over = len(rows) < _AT_ONCE
    status = {"pass": number + over, "after": "" if over else rows[-1].id}
    there = [one for one in rows if one.kind in TRACED and not one.deleting]

    def writes(connection: Connection) -> None:
        for one in there:
            if number:
                lineage.link(connection, _links(platform, connection, one), one.created_at)
            elif one.kind == JOBS and one.status.get("attempt"):
                lineage.wrote(connection, one, of_jobs.own_places(one))

    return Step(row.state, {**row.status, **status}, after=_PAUSE_S, writes=writes)


def _links(platform: Platform, connection: Connection, row: Row) -> list[Link]:
    try:
        if row.kind == JOBS:
            return _of_job(platform, connection, row)
        if "/deployments" in row.kind:
            return _of_deployment(row)
        return _of_version(platform, connection, row)
    except (ArmError, NotAnId, KeyError, TypeError):  # rows of long ago: what they say may lead nowhere
        return []


def _of_job(platform: Platform, connection: Connection, row: Row) -> list[Link]:
    id_, uses = ResourceId.parse(row.written), part(part(row.spec, OURS), PINNED)
    links = of_jobs.reads(platform, connection, id_, uses) if row.properties.get("jobType") == "Command" else []
    for output, place in part(row.status, "outputs").items():
        if not place.get("assetName") or not place.get("assetVersion"):
            continue
        job, name = of_jobs.maker(connection, row, output)
        above = "models" if "model" in str(place.get("jobOutputType")) else "data"
        version = id_.workspace.child(above, place["assetName"]).child("versions", place["assetVersion"])
        links.append(Link((id_.workspace.child("jobs", job).key, row.id), version.key, lineage.OUTPUT, name))
    return links


def _of_version(platform: Platform, connection: Connection, row: Row) -> list[Link]:
    if row.properties.get("jobName") and "/data/" in row.kind:
        return []  # an output, which its job tells of
    home = ResourceId.parse(row.written).home
    uri = str(row.properties.get("modelUri") or row.properties["dataUri"])
    place = references.locate(platform, connection, home, uri, "uri")
    found = origins(platform, connection, home, uri, place, str(row.properties.get("jobName") or ""))
    return [Link(keys, row.id, lineage.OUTPUT, output) for keys, output in found]


def _of_deployment(row: Row) -> list[Link]:
    model = row.properties.get("model")
    return [Link((ResourceId.parse(model).key,), row.id, lineage.MODEL)] if model and row.state == "Succeeded" else []


KIND = Kind(path="earlierRows", title="lineage of earlier rows", scopes=INTERNAL, reconcile=_step, fail=keep_trying)
