"""A delete begins at the leaves: what stands above ends only when nothing is left below.

What is below is marked, or removed where it is only stored, in pieces: no transaction grows
with what a workspace holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from smalt.arm.platform import Platform
from smalt.arm.registry import Kinds
from smalt.reconcile.pace import Pace
from smalt.store import claims, resources
from smalt.store.resources import Row

RemoveStored = Callable[[Connection, Row, float], None]


@dataclass
class Below:
    platform: Platform
    kinds: Kinds
    remove_stored: RemoveStored
    pace: Pace

    def await_gone(self, connection: Connection, row: Row) -> bool:
        """Whether something is left below `row`, whose lease then ends here.

        It is being deleted, and wakes the row when it is gone.
        """
        now = self.platform.clock()
        left, last = self._delete_below(connection, row.id, now, self.pace.deleted_at_once)
        more = left <= 0
        if not more and last is None:
            return False
        if not more and last is not None:
            resources.wait_for(connection, row.id, [last], now)
        claims.apply(
            connection,
            row,
            status=row.status,
            state=row.state,
            due_at=now + (0 if more else self.pace.resync_s),
            failures=0,
            now=now,
            reason="",
            ended=False,
        )
        return True

    def _delete_below(self, connection: Connection, above: str, now: float, budget: int) -> tuple[int, str | None]:
        """Mark what is reconciled, remove what is only stored.

        What is left of the budget (with some left, all is marked), and the row that will be gone last.
        """
        waiting: str | None = None
        for child in resources.children_to_delete(connection, above, budget):
            budget -= 1
            if self.kinds[child.kind].reconcile is not None:
                resources.mark_deleting(connection, child, now, "smalt")
            else:
                budget, last = self._delete_below(connection, child.id, now, budget)
                if budget > 0 and last is None:
                    self.remove_stored(connection, child, now)
                waiting = last or waiting
            if budget <= 0:
                break
        return budget, resources.last_deleted(connection, above) or waiting
