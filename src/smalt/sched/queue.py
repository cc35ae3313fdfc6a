"""Who waits for nodes of a compute, and who is served first: by rank, then by the time of submission."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from smalt.sched.want import Want
from smalt.store import resources
from smalt.store.tables import queue

_FIRST = (queue.c.rank.desc(), queue.c.since, queue.c.owner)


def ensure(connection: Connection, want: Want) -> None:
    if connection.execute(select(queue.c.owner).where(queue.c.owner == want.owner)).first() is None:
        connection.execute(
            queue.insert().values(
                owner=want.owner, compute_id=want.compute, nodes=want.nodes, since=want.submitted_at, rank=want.rank
            )
        )


def is_first(connection: Connection, want: Want) -> bool:
    """Whether nobody who waits for the same compute is served before."""
    return _nobody(connection, want, queue.c.compute_id == want.compute)


def is_first_for_gpus(connection: Connection, want: Want) -> bool:
    """Whether nobody on this machine who has nodes, and waits for GPUs alone, is served before."""
    return _nobody(connection, want, queue.c.lacks_gpus)


def _nobody(connection: Connection, want: Want, among: ColumnElement[bool]) -> bool:
    earlier = or_(
        queue.c.since < want.submitted_at, and_(queue.c.since == want.submitted_at, queue.c.owner < want.owner)
    )
    before = or_(queue.c.rank > want.rank, and_(queue.c.rank == want.rank, earlier))
    query = select(queue.c.owner).where(among, queue.c.owner != want.owner, before).limit(1)
    return connection.execute(query).first() is None


def note_lack_of_gpus(connection: Connection, owner: str, lacks: bool) -> bool:
    """Whether that is new."""
    other = and_(queue.c.owner == owner, queue.c.lacks_gpus != lacks)
    return connection.execute(update(queue).where(other).values(lacks_gpus=lacks)).rowcount > 0


def leave(connection: Connection, owner: str) -> None:
    connection.execute(delete(queue).where(queue.c.owner == owner))


@dataclass(frozen=True)
class Waiting:
    compute: str
    lacks_gpus: bool


def place_of(connection: Connection, owner: str) -> Waiting | None:
    found = connection.execute(select(queue.c.compute_id, queue.c.lacks_gpus).where(queue.c.owner == owner)).first()
    return Waiting(found.compute_id, found.lacks_gpus) if found else None


def waiting(connection: Connection, compute: str) -> int:
    return connection.execute(select(func.count()).select_from(queue).where(queue.c.compute_id == compute)).scalar_one()


def wake_first(connection: Connection, compute: str, now: float) -> None:
    _wake(connection, queue.c.compute_id == compute, now)


def wake_first_for_gpus(connection: Connection, now: float) -> None:
    _wake(connection, queue.c.lacks_gpus, now)


def _wake(connection: Connection, among: ColumnElement[bool], now: float) -> None:
    first = connection.execute(select(queue.c.owner).where(among).order_by(*_FIRST).limit(1)).scalar()
    if first:
        resources.poke(connection, [first], now)


def position(connection: Connection, owner: str, most: int) -> int | None:
    """From 1, among those who wait for the same compute; at most `most`, so that it costs no more. None: not queued."""
    mine = connection.execute(select(queue).where(queue.c.owner == owner)).first()
    if mine is None:
        return None
    same, left = queue.c.rank == mine.rank, most - 1
    ahead = 0
    # Each is a range of the index; together they would be read as all that wait.
    for before in (
        queue.c.rank > mine.rank,
        and_(same, queue.c.since < mine.since),
        and_(same, queue.c.since == mine.since, queue.c.owner < owner),
    ):
        some = select(queue.c.owner).where(queue.c.compute_id == mine.compute_id, before).limit(left - ahead).subquery()
        ahead += connection.execute(select(func.count()).select_from(some)).scalar_one()
    return 1 + ahead


@dataclass(frozen=True)
class Place:
    """Of one who waits: `rank` tells its priority."""

    owner: str
    nodes: int
    since: float
    rank: int
    lacks_gpus: bool


def first(connection: Connection, compute: str, most: int) -> list[Place]:
    """Those who wait for a compute, in order."""
    query = select(queue).where(queue.c.compute_id == compute).order_by(*_FIRST).limit(most)
    return [Place(row.owner, row.nodes, row.since, row.rank, row.lacks_gpus) for row in connection.execute(query)]


def computes(connection: Connection, prefix: str) -> list[str]:
    """Those for which somebody waits, whose keys begin so."""
    query = select(queue.c.compute_id).where(queue.c.compute_id.startswith(prefix, autoescape=True)).distinct()
    return sorted(connection.execute(query).scalars())
