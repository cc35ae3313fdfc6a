"""What tasks on machines use, with whose they are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from smalt.arm.ports import Usage
from smalt.engines.remote.messages import Used
from smalt.store import node_tasks


def owned(connection: Connection, used: Sequence[Used]) -> list[Usage]:
    """Of the tasks that are known."""
    rows = {one.task: node_tasks.get(connection, one.task) for one in used}
    return [Usage(row.name, row.owner, **one.model_dump(exclude={"task"})) for one in used if (row := rows[one.task])]
