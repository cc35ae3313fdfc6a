"""One `Engine` for all machines: what runs on the server's own, and what was given to others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from smalt.agent.visit import Visit
from smalt.agent.wire import TaskSpec, TaskState
from smalt.arm.errors import ArmError
from smalt.arm.ports import Capacity, Engine, Isolation, Usage
from smalt.engines.remote.engine import RemoteEngine


class Engines:
    """`local` runs what names no machine, `remote` all else. By its name alone `remote` knows what it was given."""

    def __init__(self, local: Engine, remote: RemoteEngine) -> None:
        self.local, self._remote = local, remote

    def capacity(self, node: str = "") -> Capacity:
        return self._of(node).capacity(node)

    def isolation(self, node: str = "") -> Isolation:
        return self._of(node).isolation(node)

    def ensure(self, task: TaskSpec) -> None:
        self._of(task.node).ensure(task)

    def observe(self, name: str) -> TaskState | None:
        return self._remote.observe(name) or self.local.observe(name)

    def silent_s(self, node: str) -> float:
        return self._remote.silent_s(node) if node else 0.0

    def stop(self, name: str, grace_s: float) -> None:
        self._remote.stop(name, grace_s)
        self.local.stop(name, grace_s)

    def remove(self, name: str) -> None:
        self._remote.remove(name)
        self.local.remove(name)

    def visit(self, name: str, visit: Visit) -> socket.socket:
        self._check_here(name)
        return self.local.visit(name, visit)

    def reach(self, name: str, port: int) -> socket.socket:
        self._check_here(name)
        return self.local.reach(name, port)

    def owner(self, name: str) -> str:
        return self.local.owner(name)

    def usage(self) -> Sequence[Usage]:
        return [*self.local.usage(), *self._remote.usage()]

    def watch(self, changed: Callable[[str], None]) -> None:
        self.local.watch(changed)
        self._remote.watch(changed)

    def _check_here(self, name: str) -> None:
        if self._remote.observe(name) is not None:
            message = "It runs on a machine that dialled in, and nobody can connect to it there yet."
            raise ArmError(400, "JobNotConnectable", message)

    def _of(self, node: str) -> Engine | RemoteEngine:
        return self._remote if node else self.local
