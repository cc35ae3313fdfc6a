"""Who waits for nodes of a compute, and in which order: by rank, then shares take turns, each in order of submission.

A turn is a number that a job has when it joins: that of the first in the queue, or where others of its share wait, so
much more than the last of them as that one has nodes. So a share with a thousand jobs in the queue holds up another's
one job for a single turn, and nobody's place is counted anew when somebody comes or goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from smalt.sched.want import Want, is_preemptible
from smalt.store import resources
from smalt.store.tables import queue

_FIRST = (queue.c.rank.desc(), queue.c.turn, queue.c.since, queue.c.owner)
_FIRST_OF_ALL = (queue.c.rank.desc(), queue.c.since, queue.c.owner)  # turns of several computes do not compare
_AT_ONCE = 20


def ensure(connection: Connection, want: Want) -> Waiting:
    """It waits, with this rank, from now on."""
    known = place_of(connection, want.owner)
    if known is not None and known.rank == want.rank:
        return known
    if known is not None:
        leave(connection, want.owner)
    values = {
        "owner": want.owner, "compute_id": want.compute, "nodes": want.nodes, "since": want.submitted_at,
        "rank": want.rank, "share": want.share, "turn": _turn(connection, want), "limit_s": want.limit_s,
    }  # fmt: skip
    connection.execute(queue.insert().values(values))
    return Waiting(want.compute, want.rank, False, False)


def _turn(connection: Connection, want: Want) -> int:
    among = (queue.c.compute_id == want.compute, queue.c.rank == want.rank)
    ours = select(queue.c.turn, queue.c.nodes).where(*among, queue.c.share == want.share).limit(1)
    after = connection.execute(ours.where(queue.c.since > want.submitted_at).order_by(queue.c.since)).first()
    if after:
        return after.turn  # it was submitted before that one, and so stands before it
    now = connection.execute(select(queue.c.turn).where(*among).order_by(queue.c.turn).limit(1)).scalar() or 0
    last = connection.execute(ours.order_by(queue.c.since.desc())).first()
    return max(now, last.turn + last.nodes) if last else now


def is_first_for_gpus(connection: Connection, want: Want) -> bool:
    """Whether nobody on this machine who has nodes, and waits for GPUs alone, is served before."""
    earlier = or_(
        queue.c.since < want.submitted_at, and_(queue.c.since == want.submitted_at, queue.c.owner < want.owner)
    )
    before = or_(queue.c.rank > want.rank, and_(queue.c.rank == want.rank, earlier))
    query = select(queue.c.owner).where(queue.c.lacks_gpus, queue.c.owner != want.owner, before).limit(1)
    return connection.execute(query).first() is None


def note_lack_of_gpus(connection: Connection, owner: str, lacks: bool) -> None:
    connection.execute(update(queue).where(queue.c.owner == owner).values(lacks_gpus=lacks))


def note_lack_of_quota(connection: Connection, owner: str, lacks: bool) -> None:
    """Who lacks quota keeps his place and holds up nobody."""
    connection.execute(update(queue).where(queue.c.owner == owner).values(lacks_quota=lacks))


def leave(connection: Connection, owner: str) -> None:
    connection.execute(delete(queue).where(queue.c.owner == owner))


@dataclass(frozen=True)
class Waiting:
    compute: str
    rank: int
    lacks_gpus: bool
    lacks_quota: bool


def place_of(connection: Connection, owner: str) -> Waiting | None:
    query = select(queue.c.compute_id, queue.c.rank, queue.c.lacks_gpus, queue.c.lacks_quota)
    found = connection.execute(query.where(queue.c.owner == owner)).first()
    return Waiting(*found) if found else None


def waiting(connection: Connection, compute: str) -> int:
    return connection.execute(select(func.count()).select_from(queue).where(queue.c.compute_id == compute)).scalar_one()


def wake_first(connection: Connection, compute: str, now: float) -> None:
    _wake(connection, _served(compute), _FIRST, now)


def wake_without_quota(connection: Connection, prefix: str, now: float) -> None:
    """Those who lacked quota on computes whose keys begin so, as many as are looked at at once."""
    lacking = (queue.c.compute_id.startswith(prefix, autoescape=True), queue.c.lacks_quota)
    query = select(queue.c.owner).where(*lacking).order_by(*_FIRST_OF_ALL).limit(_AT_ONCE)
    resources.poke(connection, list(connection.execute(query).scalars()), now)


def wake_first_for_gpus(connection: Connection, now: float) -> None:
    _wake(connection, queue.c.lacks_gpus, _FIRST_OF_ALL, now)


def _wake(
    connection: Connection, among: ColumnElement[bool], order: Sequence[ColumnElement[object]], now: float
) -> None:
    found = connection.execute(select(queue.c.owner).where(among).order_by(*order).limit(1)).scalar()
    if found:
        resources.poke(connection, [found], now)


def position(connection: Connection, owner: str, most: int) -> int | None:
    """From 1, among those who wait for the same compute; at most `most`, so that it costs no more. None: not queued."""
    mine = connection.execute(select(queue).where(queue.c.owner == owner)).first()
    if mine is None:
        return None
    alike = queue.c.rank == mine.rank
    same, left = and_(alike, queue.c.turn == mine.turn), most - 1
    ahead = 0
    # Each is a range of the index; together they would be read as all that wait.
    for before in (
        queue.c.rank > mine.rank,
        and_(alike, queue.c.turn < mine.turn),
        and_(same, queue.c.since < mine.since),
        and_(same, queue.c.since == mine.since, queue.c.owner < owner),
    ):
        some = select(queue.c.owner).where(queue.c.compute_id == mine.compute_id, before).limit(left - ahead).subquery()
        ahead += connection.execute(select(func.count()).select_from(some)).scalar_one()
    return 1 + ahead


def _served(compute: str) -> ColumnElement[bool]:
    return and_(queue.c.compute_id == compute, queue.c.lacks_quota.is_(False))


@dataclass(frozen=True)
class Place:
    """Of one who waits: `rank` tells its priority. `limit_s`: it ends so long after its start; 0: nobody knows."""

    owner: str
    nodes: int
    since: float
    rank: int
    lacks_gpus: bool
    limit_s: float
    lacks_quota: bool

    @property
    def preemptible(self) -> bool:
        return is_preemptible(self.rank)


def first(connection: Connection, compute: str, most: int) -> list[Place]:
    """Those who wait for a compute, in order."""
    return _places(connection, queue.c.compute_id == compute, most)


def served(connection: Connection, compute: str, most: int) -> list[Place]:
    """Those of them who are served as soon as there are nodes, in order."""
    return _places(connection, _served(compute), most)


def next_(connection: Connection, compute: str) -> Place | None:
    """Who is served first."""
    return next(iter(served(connection, compute, 1)), None)


def _places(connection: Connection, among: ColumnElement[bool], most: int) -> list[Place]:
    query = select(queue).where(among).order_by(*_FIRST).limit(most)
    return [
        Place(row.owner, row.nodes, row.since, row.rank, row.lacks_gpus, row.limit_s, row.lacks_quota)
        for row in connection.execute(query)
    ]


def computes(connection: Connection, prefix: str) -> list[str]:
    """Those for which somebody waits, whose keys begin so."""
    query = select(queue.c.compute_id).where(queue.c.compute_id.startswith(prefix, autoescape=True)).distinct()
    return sorted(connection.execute(query).scalars())
