"""What becomes of a parallel job that lost its nodes, and what is tidied away when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from smalt.agent.wire import Outcome, TaskState
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS
from smalt.arm.platform import Platform
from smalt.kinds.jobs import launch
from smalt.kinds.jobs.model import PARENT
from smalt.kinds.jobs.parallel.settings import PARALLEL, options
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

LEDGER = "logs/azureml/mini_batches/"  # where the driver keeps what is done
_LOST_MOST = 10  # attempts that may lose a node
_KILLED = 128 + 9
_LOGS_MOST, _LOG_BYTES = 200, 1 << 20


def retries(row: Row) -> int:
    return _LOST_MOST if part(row.properties, PARALLEL) else 0


def is_lost(states: Sequence[TaskState]) -> bool:
    """Whether a node went away, and the job did not fail by itself: another attempt goes on with what is left."""
    return any(
        state.outcome is Outcome.LOST or (state.outcome is Outcome.EXITED and state.exit_code == _KILLED)
        for state in states
    )


def tidy(platform: Platform, row: Row) -> None:
    """Once the job has ended. It may be done twice."""
    said = part(row.properties, PARALLEL)
    if not said:
        return
    with platform.database.read() as connection:
        artifacts = launch.artifacts_of(connection, row)
        parent = row.spec[OURS].get(PARENT)
        above = parent and resources.get(connection, ResourceId.parse(row.written).workspace.child("jobs", parent).key)
        parents = launch.artifacts_of(connection, above) if above else None
    platform.blobs.remove(*artifacts.below(LEDGER))
    wanted = dict(options(str(said.get("programArguments") or ""))).get("copy_logs_to_parent", "")
    if parents is None or wanted.lower() != "true":
        return
    folder = artifacts.below("logs/")
    for blob in islice(platform.blobs.list(*folder), _LOGS_MOST):
        data = platform.blobs.read(folder.account, folder.container, blob.name, _LOG_BYTES, from_end=True)
        name = blob.name.removeprefix(folder.name)
        platform.blobs.write(parents.below(f"logs/azureml/{row.name}/{name}"), data or b"")
