"""From the names of a task to files of this machine: the one place where a blob becomes a path for those who run.

A store without local files has no path to give (ArmError 400). Who wants to run tasks on its blobs brings them here
before the task starts, and takes to the store what the task made when it has ended: `places` is where that begins, and
the agent's `prepare` and `finish` (`agent/inputs.py`, `agent/outputs.py`) are where the bytes would go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smalt.agent.wire import NOWHERE, Address, Places, TaskSpec


@dataclass(frozen=True)
class Finder:
    """What names are here. Both functions raise ArmError(400).

    - `blob(account, container, name)`: where a blob is; with a `/` at the end of its name, the folder.
    - `environment(key)`: the prefix of a built environment.
    - `store`: the folder below which all blobs are; None where they may be anywhere.
    - `ca_bundle`: the certificates that tasks of workspaces trust.
    """

    blob: Callable[[str, str, str], Path]
    environment: Callable[[str], Path]
    store: Path | None = None
    ca_bundle: str = ""

    def places(self, task: TaskSpec, address: Address = NOWHERE) -> Places:
        """`address` is where the task is to listen, if it does."""
        files = {ref: str(self.blob(*ref)) for ref in sorted(task.refs())}
        environment = str(self.environment(task.environment)) if task.environment else ""
        listens, trusts = address if task.listens else NOWHERE, self.ca_bundle if task.workspace else ""
        return Places(files, environment, str(self.store or ""), listens, trusts)
