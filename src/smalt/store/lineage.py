"""What came of what: edges between jobs, versions of data and models, and deployments, written with the rows.

An edge leads from what was there to what came of it: a version to the job that read it, a job to the version that it
made, a model to the deployment that serves it. Each end is an id and the time at which that resource was made, so a
name that is used again is another end. What is deleted leaves its edges and a copy of what it was made from
(`departed`), for as long as something is left that came of it or that it came of, and for a year in any case.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, and_, delete, func, select, text, update

from smalt.store.document import Document
from smalt.store.lineage_tables import departed, lineage, written_place
from smalt.store.row import Row, read
from smalt.store.tables import resource

INPUT, OUTPUT, FILES, MODEL = "input", "output", "files", "model"  # what an edge is
KEPT_S = 365 * 24 * 3600.0  # as the audit in the feed
TRACED = frozenset(
    ("workspaces/jobs", "workspaces/data/versions", "workspaces/models/versions",
     "workspaces/onlineendpoints/deployments", "registries/data/versions", "registries/models/versions")
)  # fmt: skip
_AGAIN_S = 30 * 24 * 3600.0  # so often it is looked whether what came of a departed resource is gone, too
_EDGES_MOST = 1000
_BELOW_MOST = 20
_NOT_KEPT = frozenset(("environmentVariables", "variables", "services"))  # may hold what must go with the resource
_OF_STATUS = ("outputs", "content", "started_at", "ended_at", "error", "serves")
_LINK = text(
    "INSERT INTO lineage (source, source_at, target, target_at, what, name, at)"
    " VALUES (:source, :source_at, :target, :target_at, :what, :name, :at)"
    " ON CONFLICT (source, source_at, target, target_at, what, name) DO UPDATE SET until = NULL"
)
_DEPART = text(
    "INSERT INTO departed (id, created_at, gone_at, look_at, kind, document)"
    " VALUES (:id, :created_at, :gone_at, :look_at, :kind, :document)"
    " ON CONFLICT (id, created_at) DO UPDATE SET gone_at = excluded.gone_at, document = excluded.document"
)
_WROTE = text(
    "INSERT INTO written_place (place, job, job_at, output) VALUES (:place, :job, :job_at, :output)"
    " ON CONFLICT (place) DO UPDATE SET job = excluded.job, job_at = excluded.job_at, output = excluded.output"
)


@dataclass(frozen=True)
class End:
    """A resource: its id in lower case, and when it was made."""

    key: str
    at: float


@dataclass(frozen=True)
class Edge:
    source: End
    target: End
    what: str
    name: str
    at: float
    until: float | None = None


@dataclass(frozen=True)
class Link:
    """An edge to be. `sources`: keys, of which the first counts that is there or was; without any it is none."""

    sources: Sequence[str]
    target: str
    what: str
    name: str = ""


@dataclass(frozen=True)
class Writer:
    """A job, by its key, and the output that it wrote."""

    job: str
    output: str


def link(connection: Connection, links: Sequence[Link], now: float) -> None:
    """Write the edges, in the transaction that wrote the targets. May be done twice."""
    if not links:
        return
    keys = {key for one in links for key in (*one.sources, one.target)}
    born = _born(connection, keys)
    if lacking := {key for one in links for key in one.sources[:1]} - born.keys():
        born = {**_departed_at(connection, lacking), **born}
    rows: list[Document] = []
    for one in links:
        source = next((key for key in one.sources if key in born), None)
        if source is not None and one.target in born and source != one.target:
            rows.append(
                {
                    "source": source,
                    "source_at": born[source],
                    "target": one.target,
                    "target_at": born[one.target],
                    "what": one.what,
                    "name": one.name,
                    "at": now,
                }
            )
    if rows:
        connection.execute(_LINK, rows)


def serve(connection: Connection, deployment: str, model: str, now: float) -> None:
    """The deployment serves this model from now on, and no other; empty: none."""
    _end(connection, deployment, model, now)
    if model:
        link(connection, [Link((model,), deployment, MODEL)], now)


def _end(connection: Connection, deployment: str, but: str, now: float) -> None:
    served = and_(lineage.c.target == deployment, lineage.c.what == MODEL, lineage.c.until.is_(None))
    connection.execute(update(lineage).where(served, lineage.c.source != but).values(until=now))


def wrote(connection: Connection, job: Row, places: Mapping[str, str]) -> None:
    """The job begins to write to these places (by output), which its name does not tell."""
    rows = [
        {"place": place, "job": job.id, "job_at": job.created_at, "output": output} for output, place in places.items()
    ]
    if rows:
        connection.execute(_WROTE, rows)


def writers(connection: Connection, place: str) -> list[Writer]:
    """Who began last to write to a place, or above it; where nobody did: to what is below it, some of them."""
    table = written_place.c
    at_or_above = select(table.place, table.job, table.output).where(table.place.in_(_and_above(place)))
    found = sorted(connection.execute(at_or_above).all(), key=lambda one: len(one.place), reverse=True)[:1]
    if not found:
        below = and_(table.place > f"{place}/", table.place < f"{place}0")  # '0' follows '/'
        found = connection.execute(select(table.place, table.job, table.output).where(below).limit(_BELOW_MOST)).all()
    return [Writer(one.job, one.output) for one in found]


def _and_above(place: str) -> list[str]:
    """The place and the folders that it is in, below the container."""
    parts = place.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 2, -1)]


def edges(connection: Connection, ends: Collection[End], upstream: bool, most: int) -> list[Edge]:
    """Up to `most` of those that lead to these ends, or from them."""
    column, at = (lineage.c.target, "target_at") if upstream else (lineage.c.source, "source_at")
    known = {(one.key, one.at) for one in ends}
    query = select(lineage).where(column.in_({one.key for one in ends})).limit(most)
    found = connection.execute(query).mappings().all()
    return [_edge(row) for row in found if (row[column.name], row[at]) in known]


def _edge(row: Mapping[Any, Any]) -> Edge:
    source, target = End(row["source"], row["source_at"]), End(row["target"], row["target_at"])
    return Edge(source, target, row["what"], row["name"], row["at"], row["until"])


@dataclass(frozen=True)
class Traced:
    """A resource that lineage tells of, as it is or as it was; `gone_at`: it was deleted then."""

    row: Row
    gone_at: float | None = None


def traced(connection: Connection, ends: Iterable[End]) -> dict[End, Traced]:
    """Those of the ends that are there or were; others were forgotten."""
    wanted = set(ends)
    if not wanted:
        return {}
    keys = {one.key for one in wanted}
    living = [read(found) for found in connection.execute(select(resource).where(resource.c.id.in_(keys)))]
    known = {End(row.id, row.created_at): Traced(row) for row in living}
    if left := {one.key for one in wanted - known.keys()}:
        for found in connection.execute(select(departed).where(departed.c.id.in_(left))).mappings():
            known[End(found["id"], found["created_at"])] = _was(found)
    return {end: one for end, one in known.items() if end in wanted}


def traced_at(connection: Connection, key: str, at: float) -> Traced | None:
    """The resource that had this id at a time, as it is or was."""
    found = connection.execute(select(resource).where(resource.c.id == key, resource.c.created_at <= at)).first()
    if found is not None:
        return Traced(read(found))
    was = select(departed).where(departed.c.id == key, departed.c.created_at <= at)
    found = connection.execute(was.order_by(departed.c.created_at.desc()).limit(1)).mappings().first()
    return _was(found) if found is not None else None


def newest_departed(connection: Connection, key: str) -> End | None:
    """The last resource of this id that was deleted."""
    at = connection.execute(select(func.max(departed.c.created_at)).where(departed.c.id == key)).scalar()
    return End(key, at) if at is not None else None


def removed(connection: Connection, row: Row, now: float) -> None:
    """In the transaction that removes it: what it was made from is kept, and it serves nothing any more."""
    if row.kind not in TRACED:
        return
    if "/deployments" in row.kind:
        _end(connection, row.id, "", now)
    kept = {
        **asdict(row),
        "spec": _kept(row.spec),
        "status": {key: row.status[key] for key in _OF_STATUS if key in row.status},
    }
    values = {
        "id": row.id,
        "created_at": row.created_at,
        "gone_at": now,
        "look_at": now + KEPT_S,
        "kind": row.kind,
        "document": json.dumps(kept),
    }
    connection.execute(_DEPART, values)


def _kept(value: Any) -> Any:
    """Without what users write into variables, at any depth."""
    if isinstance(value, dict):
        given = cast("Document", value)
        return {key: _kept(one) for key, one in given.items() if key not in _NOT_KEPT}
    return value


def _was(found: Mapping[Any, Any]) -> Traced:
    return Traced(Row(**json.loads(found["document"])), found["gone_at"])


def forget(connection: Connection, now: float, most: int = 100) -> int:
    """Up to `most` of what was deleted long ago, with its edges to what is deleted, too; how many were looked at."""
    query = select(departed.c.id, departed.c.created_at).where(departed.c.look_at < now)
    looked = [End(*found) for found in connection.execute(query.order_by(departed.c.look_at).limit(most))]
    for one in looked:
        this = and_(departed.c.id == one.key, departed.c.created_at == one.at)
        if _forgotten(connection, one):
            connection.execute(delete(departed).where(this))
            mine = and_(written_place.c.job == one.key, written_place.c.job_at == one.at)
            connection.execute(delete(written_place).where(mine))
        else:
            connection.execute(update(departed).where(this).values(look_at=now + _AGAIN_S))
    return len(looked)


def _forgotten(connection: Connection, one: End) -> bool:
    """Whether no edge is left of it; those whose other end is not there are removed."""
    found = [
        *edges(connection, [one], upstream=True, most=_EDGES_MOST),
        *edges(connection, [one], upstream=False, most=_EDGES_MOST),
    ]
    others = {edge.target if edge.source == one else edge.source for edge in found}
    born = _born(connection, {other.key for other in others})
    over = [edge for edge in found if all(born.get(end.key) != end.at for end in (edge.source, edge.target))]
    for edge in over:
        connection.execute(delete(lineage).where(_is(edge)))
    return len(over) == len(found) < _EDGES_MOST


def _is(edge: Edge) -> Any:
    table = lineage.c
    return and_(
        table.source == edge.source.key,
        table.source_at == edge.source.at,
        table.target == edge.target.key,
        table.target_at == edge.target.at,
        table.what == edge.what,
        table.name == edge.name,
    )


def _born(connection: Connection, keys: Collection[str]) -> dict[str, float]:
    query = select(resource.c.id, resource.c.created_at).where(resource.c.id.in_(keys))
    return {one.id: one.created_at for one in connection.execute(query)} if keys else {}


def _departed_at(connection: Connection, keys: Collection[str]) -> dict[str, float]:
    newest = select(departed.c.id, func.max(departed.c.created_at)).where(departed.c.id.in_(keys))
    return {one.id: one[1] for one in connection.execute(newest.group_by(departed.c.id))}
