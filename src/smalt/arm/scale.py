"""How many instances a deployment is to have, where something else than its `sku` decides: its own scale settings, or
an autoscale setting that names it.

`status.scale` of the deployment's row: `count`, `generation` (of the deployment, when that was decided), `by` (the
id of an autoscale setting, as long as that governs it) and `woken` (when a request asked for the first instance).
Whoever decides writes it and makes the row due; the step of the deployment follows.
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.store import resources
from smalt.store.document import Document, part
from smalt.store.news import tell
from smalt.store.resources import Lock, Row

SCALE = "scale"
MOST = 50  # instances of a deployment


def decided(row: Row) -> Document:
    """What was decided last; empty where the sku holds."""
    return part(row.status, SCALE)


def governor(row: Row) -> str:
    """The id of the autoscale setting that decides; empty: none does."""
    return str(decided(row).get("by") or "")


def holds(row: Row) -> bool:
    """Whether what was decided counts, and not the sku: until the next PUT, where no setting governs it any more."""
    return bool(governor(row)) or decided(row).get("generation") == row.generation


def count(row: Row) -> int:
    """How many instances there are to be, its own scale settings apart."""
    return int(decided(row)["count"]) if holds(row) else int(row.spec["sku"]["capacity"])


def release(connection: Connection, key: str, by: str, now: float) -> None:
    """The setting `by` decides no more: the deployment keeps the number that it has, until it is told another one."""
    row = resources.get(connection, key)
    if row is not None and governor(row) == by:
        decide(connection, key, int(decided(row)["count"]), now)


def wake(connection: Connection, row: Row, now: float) -> None:
    """A request waits for the first instance. Whoever governs the number goes on to, and counts that as an increase."""
    decide(connection, row.id, 1, now, governor(row), woken=now)


def decide(connection: Connection, key: str, count: int, now: float, by: str = "", woken: float | None = None) -> bool:
    """Write how many there are to be, and wake the deployment's step. False: it is gone, or that is what it has."""
    row = resources.get(connection, key, Lock.WRITE)
    if row is None or row.deleting:
        return False
    wanted: Document = {"count": count, "generation": row.generation, **({"by": by} if by else {})}
    if woken is not None:
        wanted["woken"] = woken
    if decided(row) == wanted:
        return False
    resources.merge_status(connection, row.id, {SCALE: wanted})
    resources.poke(connection, [row.id], now)
    tell(connection, row.id, due=True)
    return True
