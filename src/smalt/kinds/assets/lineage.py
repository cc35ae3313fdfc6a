"""`GET …/lineage`: from what a job, a version of data or a model, or a deployment came, and what came of it.

The graph is followed edge by edge from the resource, as far as `depth` says, and at most `NODES_MOST` resources far.
What its reader may not read is left out, with all that is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection

from smalt.arm.above import missing
from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Action, Document, Kind, Request
from smalt.arm.reach import covers, narrowed
from smalt.arm.registry import Kinds
from smalt.store import lineage
from smalt.store.document import part
from smalt.store.lineage import Edge, End, Traced
from smalt.store.resources import Row

DEPTH, DEPTH_MOST = 5, 20
NODES_MOST = 500  # of one answer, and a few more that one step of the walk brings
_EDGES_MOST = 2000
_AT_ONCE = 100
_DIRECTIONS = ("both", "upstream", "downstream")
_LOCKS_MOST = 20


@dataclass
class Walk:
    """`found`: each resource with its steps from the first one, fewer than 0 where that came of it."""

    sees: Callable[[str], bool]
    found: dict[End, int] = field(default_factory=dict[End, int])
    edges: dict[tuple[End, End, str, str], Edge] = field(default_factory=dict[tuple[End, End, str, str], Edge])
    truncated: bool = False

    def follow(self, connection: Connection, start: End, upstream: bool, depth: int) -> None:
        self.found.setdefault(start, 0)
        ends, step = [start], -1 if upstream else 1
        for distance in range(1, depth + 1):
            ends = self._next(connection, ends, upstream, step * distance)
            if not ends or self.truncated:
                return
        self.truncated |= any(self._beyond(connection, some, upstream) for some in _pieces(ends))

    def _next(self, connection: Connection, ends: list[End], upstream: bool, distance: int) -> list[End]:
        reached: list[End] = []
        for some in _pieces(ends):
            room = _EDGES_MOST - len(self.edges)
            edges = lineage.edges(connection, some, upstream, room + 1)
            self.truncated |= len(edges) > room
            for edge in edges[:room]:
                other = edge.source if upstream else edge.target
                if not self.sees(other.key):
                    continue
                self.edges[edge.source, edge.target, edge.what, edge.name] = edge
                if other not in self.found:
                    self.found[other] = distance
                    reached.append(other)
            if self.truncated or len(self.found) >= NODES_MOST:
                self.truncated = True
                break
        return reached

    def _beyond(self, connection: Connection, ends: Sequence[End], upstream: bool) -> bool:
        """Whether more is behind these."""
        found = lineage.edges(connection, ends, upstream, 1)
        return any(self.sees((edge.source if upstream else edge.target).key) for edge in found)


def _pieces(ends: Sequence[End]) -> Iterator[Sequence[End]]:
    return (ends[begin : begin + _AT_ONCE] for begin in range(0, len(ends), _AT_ONCE))


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    direction, depth = _asked(request)
    kinds = Kinds(request.kinds.values())
    with request.platform.database.read() as connection:
        start = End(row.id, row.created_at) if row else lineage.newest_departed(connection, request.id.key)
        if start is None:
            raise missing(connection, kinds, request.id)
        walk = Walk(_sight(request, kinds))
        for upstream in (True, False):
            if direction in ("both", "upstream" if upstream else "downstream"):
                walk.follow(connection, start, upstream, depth)
        known = lineage.traced(connection, walk.found)
        nodes = [_node(connection, kinds, end, at, known.get(end)) for end, at in walk.found.items()]
    names = {end: node["key"] for end, node in zip(walk.found, nodes, strict=True)}
    edges = sorted(walk.edges.values(), key=lambda edge: (edge.at, names[edge.source], names[edge.target], edge.name))
    return 200, {
        "id": names[start],
        "direction": direction,
        "depth": depth,
        "nodes": sorted(nodes, key=lambda node: (node["distance"], node["key"])),
        "edges": [_edge(edge, names) for edge in edges],
        "environments": _locks(request, nodes),
        "truncated": walk.truncated,
    }


def _asked(request: Request) -> tuple[str, int]:
    """Direction and depth. Raises ArmError(400)."""
    direction = str(request.query.get("direction") or _DIRECTIONS[0]).lower()
    if direction not in _DIRECTIONS:
        raise invalid(f"'{direction[:100]}' is none of {', '.join(_DIRECTIONS)}.", "direction")
    depth = str(request.query.get("depth") or DEPTH)
    if not (depth.isascii() and depth.isdigit() and len(depth) < 4 and 1 <= int(depth) <= DEPTH_MOST):
        raise invalid(f"depth is a whole number from 1 to {DEPTH_MOST}, not '{depth[:100]}'.", "depth")
    return direction, int(depth)


def _sight(request: Request, kinds: Kinds) -> Callable[[str], bool]:
    """Whether the reader may read the resource of a key."""

    @cache
    def reach(kind: str) -> tuple[str, ...] | None:
        action = f"{kinds[kind].qualified}/read" if kind in kinds else kind
        return narrowed(request.platform.grants.reach(request.principal, action), request.id.home.key)

    def sees(key: str) -> bool:
        seen = reach(ResourceId.parse(key).kind)
        return seen is None or any(covers(one, key) for one in seen)

    return sees


def _node(connection: Connection, kinds: Kinds, end: End, distance: int, known: Traced | None) -> Document:
    id_ = ResourceId.parse(end.key)
    kind: Kind | None = kinds.get(id_.kind)
    node: Document = {
        "key": end.key,
        "id": known.row.written if known else end.key,
        "type": kind.qualified if kind else id_.kind,
        "name": known.row.name if known else id_.name,
        "distance": distance,
        "createdAt": timestamp(end.at),
    }
    if known is None or known.gone_at is not None:
        node["key"] = f"{end.key}@{node['createdAt']}"  # another one may have the name by now
        node["deletedAt"] = timestamp(known.gone_at) if known and known.gone_at else None
    if known is not None:
        node |= {"createdBy": known.row.created_by, "state": known.row.state if known.gone_at is None else "Deleted"}
        node["origin"] = kind.origin(connection, known.row) if kind and kind.origin else {}
    return node


def _edge(edge: Edge, names: dict[End, str]) -> Document:
    shown: Document = {
        "from": names[edge.source],
        "to": names[edge.target],
        "what": edge.what,
        "name": edge.name,
        "at": timestamp(edge.at),
        "until": None if edge.until is None else timestamp(edge.until),
    }
    return {key: value for key, value in shown.items() if value not in (None, "")}


def _locks(request: Request, nodes: list[Document]) -> Document:
    """The exact versions in the environments of the jobs from which it came, by the environment's key.

    Not of those that ran on machines of their own, which may have others: their provenance says which.
    """
    made = [part(part(node, "origin"), "environment") for node in nodes if node["distance"] <= 0]
    keys = dict.fromkeys(one.get("key") for one in made if not one.get("machines"))
    found = {key: request.platform.environments.lock(key) for key in list(filter(None, keys))[:_LOCKS_MOST]}
    return {key: dict(lock) for key, lock in found.items() if lock is not None}


READ = Action(_read, method="GET", needs_row=False)
