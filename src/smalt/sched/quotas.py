"""How many processors of a family of sizes the jobs of a workspace may have at once; none said: all there are."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, select

from smalt.sched import queue
from smalt.store.database import exclusive
from smalt.store.tables import allocation, quota


def of_workspace(connection: Connection, workspace: str) -> dict[str, int]:
    """Processors by family."""
    query = select(quota).where(quota.c.workspace == workspace).order_by(quota.c.family)
    return {row.family: row.cores for row in connection.execute(query)}


def all_(connection: Connection) -> list[tuple[str, str, int]]:
    """(workspace, family, processors)"""
    query = select(quota).order_by(quota.c.workspace, quota.c.family)
    return [(row.workspace, row.family, row.cores) for row in connection.execute(query)]


def set_(connection: Connection, workspace: str, family: str, cores: int | None, now: float) -> None:
    """None: no quota any more. Who waited because of it is asked again."""
    lock(connection, workspace)
    connection.execute(delete(quota).where(quota.c.workspace == workspace, quota.c.family == family))
    if cores is not None:
        connection.execute(quota.insert().values(workspace=workspace, family=family, cores=cores))
    queue.wake_first_for_quota(connection, workspace, family, now)


def lock(connection: Connection, workspace: str) -> None:
    """Until the transaction ends nobody else takes, gives back or changes what quotas of the workspace count.

    After the locks of computes and of the machine's GPUs.
    """
    exclusive(connection, f"quotas of {workspace}")


def forget(connection: Connection, workspace: str) -> None:
    """It is gone."""
    connection.execute(delete(quota).where(quota.c.workspace == workspace))


def nodes_left(connection: Connection, workspace: str, family: str, cores: int) -> int | None:
    """How many more nodes with so many processors the workspace may have; None: there is no quota."""
    if not family or not cores:
        return None
    query = select(quota.c.cores).where(quota.c.workspace == workspace, quota.c.family == family)
    most = connection.execute(query).scalar()
    return None if most is None else max(most - used(connection, workspace).get(family, 0), 0) // cores


def used(connection: Connection, workspace: str = "") -> Mapping[str, int]:
    """Processors that jobs have, by family; of all workspaces if none is named."""
    query = select(allocation.c.family, func.sum(allocation.c.cores)).where(
        allocation.c.owner.is_not(None), allocation.c.cores.is_not(None)
    )
    if workspace:
        query = query.where(allocation.c.compute_id.startswith(f"{workspace}/computes/", autoescape=True))
    grouped = query.where(allocation.c.family.is_not(None)).group_by(allocation.c.family)
    return {family: int(cores) for family, cores in connection.execute(grouped)}


def limits(connection: Connection, workspace: str, family: str) -> bool:
    """Whether there is one."""
    query = select(quota.c.family).where(quota.c.workspace == workspace, quota.c.family == family)
    return connection.execute(query).first() is not None
