"""Whose turn it is among the shares of a queue: start-time fair queueing, one number for each job when it joins.

A job's turn is the one that was served last, or where its share has had later ones, what follows those: as much later
as they have nodes. It never changes, so the next is one look at an index. What a share has had is kept while it is
later than what everybody has had; so a table has as many rows as shares that are ahead.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, delete, select, text

from smalt.store.tables import turn

_EVERYBODY = ""  # the turn that was served last; a share's key is longer
_SET = text(
    "INSERT INTO turn (compute_id, rank, share, turn) VALUES (:compute_id, :rank, :share, :turn)"
    " ON CONFLICT (compute_id, rank, share) DO UPDATE SET turn = excluded.turn"
)


def join(connection: Connection, compute: str, rank: int, share: str, nodes: int) -> int:
    """The turn of a job that joins the queue."""
    key = _key(share)
    query = select(turn.c.turn).where(_among(compute, rank), turn.c.share.in_((_EVERYBODY, key)))
    mine = max(connection.execute(query).scalars(), default=0)
    _set(connection, compute, rank, key, mine + nodes)
    return mine


def serve(connection: Connection, compute: str, rank: int, mine: int) -> None:
    """The job with this turn has its nodes."""
    query = select(turn.c.turn).where(_among(compute, rank), turn.c.share == _EVERYBODY)
    now = max(connection.execute(query).scalar() or 0, mine)
    _set(connection, compute, rank, _EVERYBODY, now)
    connection.execute(delete(turn).where(_among(compute, rank), turn.c.share != _EVERYBODY, turn.c.turn <= now))


def give_back(connection: Connection, compute: str, rank: int, share: str, last: int | None) -> None:
    """A job has left that was not served; `last`: what follows those of its share that still wait, None: none does."""
    if last is None:
        connection.execute(delete(turn).where(_among(compute, rank), turn.c.share == _key(share)))
    else:
        _set(connection, compute, rank, _key(share), last)


def forget(connection: Connection, gone: str) -> None:
    """Of a compute, or of all computes of a workspace."""
    below = turn.c.compute_id.startswith(f"{gone}/computes/", autoescape=True)
    connection.execute(delete(turn).where((turn.c.compute_id == gone) | below))


def _among(compute: str, rank: int) -> ColumnElement[bool]:
    return (turn.c.compute_id == compute) & (turn.c.rank == rank)


def _set(connection: Connection, compute: str, rank: int, share: str, number: int) -> None:
    connection.execute(_SET, {"compute_id": compute, "rank": rank, "share": share, "turn": number})


def _key(share: str) -> str:
    return f"/{share}"
