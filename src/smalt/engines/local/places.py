"""From the names of a task to files of this machine: the one place where a blob becomes a path for those who run.

Where the store has no files here, a carrier brings them: the task then sees a mirror of its own (`carry/mirror.py`),
and neither its agent nor the command knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smalt.agent.kernel_spec import environments
from smalt.agent.wire import NOWHERE, Address, Places, TaskSpec
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.mirror import Mirror


@dataclass(frozen=True)
class Finder:
    """What names are here. Both functions raise ArmError(400).

    - `blob(account, container, name)`: where a blob is; with a `/` at the end of its name, the folder. Not asked where
      there is a carrier.
    - `environment(key)`: the prefix of a built environment.
    - `store`: the folder below which all blobs are; None where they may be anywhere.
    - `ca_bundle`: the certificates that tasks of workspaces trust.
    - `carrier`: takes blobs here and back, where the store has no files of this machine.
    """

    blob: Callable[[str, str, str], Path]
    environment: Callable[[str], Path]
    store: Path | None = None
    ca_bundle: str = ""
    carrier: Carrier | None = None

    def places(self, task: TaskSpec, address: Address = NOWHERE, mirror: Mirror | None = None) -> Places:
        """`address` is where the task is to listen, if it does; `mirror` is the task's, with a carrier."""
        find, store = (mirror.path, mirror.root) if mirror else (self.blob, self.store)
        files = {ref: str(find(*ref)) for ref in sorted(task.refs())}
        environment = str(self.environment(task.environment)) if task.environment else ""
        kernels = {key: str(self.environment(key)) for key in sorted(environments(task.kernels))}
        listens, trusts = address if task.listens else NOWHERE, self.ca_bundle if task.workspace else ""
        return Places(files, environment, str(store or ""), listens, trusts, kernels)
