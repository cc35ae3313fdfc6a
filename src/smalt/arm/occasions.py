"""A schedule's job that is asked for at another time than the schedule's own: by an alert that fires.

Whoever asks writes a key into the `status` of the schedule's row, in a transaction of its own concerns, and makes the
row due. The schedule's step submits the job and takes the key out, in one transaction: one job for one who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from smalt.store import resources
from smalt.store.news import tell
from smalt.store.resources import Lock

SCHEDULES = "workspaces/schedules"
TRIGGER = "Microsoft.MachineLearningServices/workspaces/schedules/trigger/action"
_ASKED = "asked "  # then the id of who asks; the value is when, in seconds since the epoch


def ask(connection: Connection, key: str, who: str, now: float) -> bool:
    """`key`: the schedule's. Once for each `who`, until its job is submitted. False: the schedule is gone."""
    row = resources.get(connection, key, Lock.WRITE)
    if row is None or row.kind != SCHEDULES or row.deleting:
        return False
    resources.merge_status(connection, row.id, {f"{_ASKED}{who}": int(now)})
    resources.poke(connection, [row.id], now)
    tell(connection, row.id, due=True)
    return True


def asked(status: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The key in `status`, who asks, and when; in order of time."""
    found = [(name, name.removeprefix(_ASKED), int(at)) for name, at in status.items() if name.startswith(_ASKED)]
    return sorted(found, key=lambda one: (one[2], one[1]))
