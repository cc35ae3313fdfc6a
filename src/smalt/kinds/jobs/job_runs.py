"""One row that keeps jobs and MLflow's runs alike, also where a process was killed between the two.

The edge takes over what a request changed before it answers (`tracking/edge/run_edge.py`). This takes over what it
could not, and, in a database of an older version, the runs that were made before jobs knew of them.
"""

from __future__ import annotations

from sqlalchemy import Connection

from smalt.arm.kind import INTERNAL, Kind, Step, keep_trying
from smalt.arm.platform import Platform
from smalt.arm.runs import JobRuns
from smalt.store import resources
from smalt.store.resources import Row

_KEY = "/smalt/jobruns/all"
_RESYNC_S = 30.0


def watch(connection: Connection, now: float) -> None:
    """At the start of a server: the row is there, and looks at once."""
    if resources.get(connection, _KEY) is None:
        resources.insert_own(connection, _KEY, "jobruns", "all", now)
    resources.poke(connection, [_KEY], now)


def _step(platform: Platform, row: Row) -> Step:
    more = JobRuns(platform.database, platform.tracking, platform.clock).take_over_all()
    return Step(row.state, row.status, after=0 if more else _RESYNC_S)


KIND = Kind(path="jobRuns", title="comparison of jobs and runs", scopes=INTERNAL, reconcile=_step, fail=keep_trying)
