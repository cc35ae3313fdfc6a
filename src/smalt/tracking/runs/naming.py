"""The ids of runs: a job's name, as long as no other workspace on the server has it.

MLflow's ids are unique on the whole server, the names of jobs in their workspace. Nobody can take what another
workspace's run has or will have (`owned`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, or_, select

from smalt.tracking.address import mlflow_name
from smalt.tracking.database import schema

_LIKE_A_LAST_ID = re.compile(r"-[0-9a-f]{64}$")
_ANY = or_(*(schema.runs.c.run_uuid == bindparam(f"id{number}") for number in range(3)))
OWNERS = (
    select(schema.runs.c.run_uuid, schema.experiments.c.workspace)
    .join(schema.experiments, schema.runs.c.experiment_id == schema.experiments.c.experiment_id)
    .where(_ANY)
)


def run_id(connection: Connection, workspace: str, name: str) -> str:
    ids = possible(workspace, name)
    found = connection.execute(OWNERS, bound(ids))
    return owned({row.run_uuid: row.workspace for row in found}, workspace, ids)


def run_ids(connection: Connection, workspace: str, names: Sequence[str]) -> dict[str, str]:
    """As `run_id`, of many at once, by name."""
    ids = {name: possible(workspace, name) for name in names}
    runs, experiments = schema.runs, schema.experiments
    owners = select(runs.c.run_uuid, experiments.c.workspace).join(
        experiments, runs.c.experiment_id == experiments.c.experiment_id
    )
    found = connection.execute(owners.where(runs.c.run_uuid.in_([one for three in ids.values() for one in three])))
    by_id = {row.run_uuid: row.workspace for row in found}
    return {name: owned(by_id, workspace, three) for name, three in ids.items()}


def possible(workspace: str, name: str) -> tuple[str, str, str]:
    """The ids that a run may have: its name, the second where that is another workspace's, the last where both are."""
    own = hashlib.sha256(mlflow_name(workspace).encode()).hexdigest()
    return name, f"{name}-{own[:8]}", f"{name}-{own}"


def bound(ids: Sequence[str]) -> dict[str, str]:
    return {f"id{number}": one for number, one in enumerate(ids)}


def owned(owners: Mapping[str, str], workspace: str, ids: tuple[str, str, str]) -> str:
    """A run keeps the id that it began with, also when the other workspace's run of that name is gone.

    A name that looks like a last id never is an id itself: so that is always free for the workspace whose hash it has.
    """
    own = mlflow_name(workspace)
    begun = next((one for one in ids if owners.get(one) == own), None)
    if begun:
        return begun
    name, second, last = ids
    if name not in owners and not _LIKE_A_LAST_ID.search(name):
        return name
    return second if second not in owners else last
