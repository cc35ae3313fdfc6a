"""Who waits for nodes of a compute, and in which order: by rank, then shares take turns, each in order of submission.

Who lacks quota keeps his place and holds up nobody there: those of his workspace and family wait in a queue of their
own for it, and so do those of this machine who lack GPUs. Both go by rank and time alone: turns of several computes do
not compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, String, and_, bindparam, delete, false, func, or_, select, update

from smalt.sched import turns
from smalt.sched.want import Want, is_preemptible
from smalt.store import resources
from smalt.store.quick import QuickSelect
from smalt.store.tables import queue

_FIRST = (queue.c.rank.desc(), queue.c.turn, queue.c.since, queue.c.owner)
_FIRST_OF_ALL = (queue.c.rank.desc(), queue.c.since, queue.c.owner)


@dataclass(frozen=True)
class Waiting:
    compute: str
    rank: int
    share: str
    turn: int
    workspace: str
    family: str
    lacks_gpus: bool = False
    lacks_quota: bool = False


_WAITING = (
    queue.c.compute_id, queue.c.rank, queue.c.share, queue.c.turn, queue.c.workspace, queue.c.family,
    queue.c.lacks_gpus, queue.c.lacks_quota,
)  # fmt: skip


_PLACE = QuickSelect(select(*_WAITING).where(queue.c.owner == bindparam("waits", type_=String)))


def place_of(connection: Connection, owner: str) -> Waiting | None:
    found = _PLACE.rows(connection, {"waits": owner})
    return Waiting(*found[0][:-2], *map(bool, found[0][-2:])) if found else None


def ensure(connection: Connection, want: Want, now: float) -> Waiting:
    """It waits, with this rank, from now on."""
    known = place_of(connection, want.owner)
    if known is not None and known.rank == want.rank:
        return known
    if known is not None:
        leave(connection, want.owner, now)
    place = Waiting(want.compute, want.rank, want.share, _turn(connection, want), want.workspace, want.family)
    values = {
        "owner": want.owner,
        "compute_id": want.compute,
        "nodes": want.nodes,
        "since": want.submitted_at,
        "rank": want.rank,
        "share": want.share,
        "turn": place.turn,
        "limit_s": want.limit_s,
        "workspace": want.workspace,
        "family": want.family,
    }
    connection.execute(queue.insert().values(values))
    if known is not None:
        wake_first(connection, want.compute, now)  # others may be before it now
    return place


def _turn(connection: Connection, want: Want) -> int:
    mine = (queue.c.compute_id == want.compute, queue.c.share == want.share, queue.c.rank == want.rank)
    after = select(queue.c.turn).where(*mine, queue.c.since > want.submitted_at).order_by(queue.c.since).limit(1)
    found = connection.execute(after).first()
    if found:
        return found.turn  # it was submitted before that one, and so stands before it
    return turns.join(connection, want.compute, want.rank, want.share, want.nodes)


def serve(connection: Connection, owner: str, place: Waiting) -> None:
    """It has its nodes."""
    turns.serve(connection, place.compute, place.rank, place.turn)
    connection.execute(delete(queue).where(queue.c.owner == owner))


def leave(connection: Connection, owner: str, now: float) -> Waiting | None:
    """It waits no more, and was not served; whoever waited behind it is woken. Returns where it stood."""
    place = place_of(connection, owner)
    if place is None:
        return None
    connection.execute(delete(queue).where(queue.c.owner == owner))
    mine = (queue.c.compute_id == place.compute, queue.c.share == place.share, queue.c.rank == place.rank)
    last = connection.execute(
        select(queue.c.turn, queue.c.nodes).where(*mine).order_by(queue.c.since.desc()).limit(1)
    ).first()
    turns.give_back(
        connection, place.compute, place.rank, place.share, last.turn + last.nodes if last is not None else None
    )
    wake_first(connection, place.compute, now)
    if place.lacks_gpus:
        wake_first_for_gpus(connection, now)
    if place.lacks_quota:
        wake_first_for_quota(connection, place.workspace, place.family, now)
    return place


def is_first_for_gpus(connection: Connection, want: Want) -> bool:
    """Whether nobody on this machine who has nodes, and waits for GPUs alone, is served before."""
    return _nobody(connection, want, queue.c.lacks_gpus)


def is_first_for_quota(connection: Connection, want: Want) -> bool:
    """Whether nobody of its workspace who lacks quota of its family is served before."""
    return _nobody(connection, want, _lacking(want.workspace, want.family))


def _nobody(connection: Connection, want: Want, among: ColumnElement[bool]) -> bool:
    earlier = or_(
        queue.c.since < want.submitted_at, and_(queue.c.since == want.submitted_at, queue.c.owner < want.owner)
    )
    before = or_(queue.c.rank > want.rank, and_(queue.c.rank == want.rank, earlier))
    query = select(queue.c.owner).where(among, queue.c.owner != want.owner, before).limit(1)
    return connection.execute(query).first() is None


def note_lack_of_gpus(connection: Connection, owner: str, lacks: bool) -> None:
    connection.execute(update(queue).where(queue.c.owner == owner).values(lacks_gpus=lacks))


def note_lack_of_quota(connection: Connection, owner: str, lacks: bool) -> None:
    """Who lacks quota keeps his place and holds up nobody."""
    connection.execute(update(queue).where(queue.c.owner == owner).values(lacks_quota=lacks))


def waiting(connection: Connection, compute: str) -> int:
    return connection.execute(select(func.count()).select_from(queue).where(queue.c.compute_id == compute)).scalar_one()


def lacking(connection: Connection, compute: str) -> int:
    """How many nodes those who wait are to have."""
    wanted = select(func.coalesce(func.sum(queue.c.nodes), 0)).where(queue.c.compute_id == compute)
    return int(connection.execute(wanted).scalar_one())


def is_wanted(connection: Connection, compute: str) -> bool:
    """Whether anybody waits for it."""
    return connection.execute(select(queue.c.owner).where(queue.c.compute_id == compute).limit(1)).first() is not None


def wake_first(connection: Connection, compute: str, now: float) -> None:
    _wake(connection, _served(compute), _FIRST, now)


def wake_first_for_quota(connection: Connection, workspace: str, family: str, now: float) -> None:
    _wake(connection, _lacking(workspace, family), _FIRST_OF_ALL, now)


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


def _lacking(workspace: str, family: str) -> ColumnElement[bool]:
    return and_(queue.c.workspace == workspace, queue.c.family == family, queue.c.lacks_quota)


def _served(compute: str) -> ColumnElement[bool]:
    return and_(queue.c.compute_id == compute, queue.c.lacks_quota == false())


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
