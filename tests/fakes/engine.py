"""An `Engine` in memory for tests of what stands above it: tasks change state when the test says so.

    engine.start(name)                 PREPARING → RUNNING
    engine.ready(name)                 the ready probe's verdict
    engine.serve(name, app=state)      what is found of its services
    engine.done(name)                  what is left of it serves others
    engine.hold(name, until, error)    its command has failed, and its walls stay
    engine.finish(name, exit_code)     the command ended by itself
    engine.fail_setup(name, error)     it could not be prepared
    engine.lose(name)                  its agent vanished
    engine.time_out(name), engine.stopped(name), engine.end_over_limit(name, outcome, error)

`stop` ends a task at once, unless the engine was made with `obeys=False`: then `stopping` holds what was asked.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from smalt.agent.service_spec import ServiceState
from smalt.agent.visit import Visit
from smalt.agent.wire import Address, Outcome, Phase, TaskSpec, TaskState
from smalt.arm.errors import ArmError
from smalt.arm.ports import Capacity, Isolation, Usage


class FakeEngine:
    def __init__(
        self, capacity: Capacity | None = None, obeys: bool = True, clock: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.tasks: dict[str, TaskSpec] = {}
        self.states: dict[str, TaskState] = {}
        self.starts: list[str] = []  # every real start, in order
        self.stopping: dict[str, float] = {}
        self.removed: list[str] = []
        self._fences: dict[str, int] = {}
        self.used: list[Usage] = []
        self.visits: list[tuple[str, Visit, socket.socket]] = []
        self.reached: list[tuple[str, int, socket.socket]] = []
        self.isolated = Isolation("walls")
        self.silent: dict[str, float] = {}  # nodes of which nothing is heard: for how long
        self._capacity = capacity or Capacity(cpus=4, memory_bytes=16 << 30)
        self._obeys = obeys
        self._clock = clock
        self._lock = threading.RLock()
        self._watchers: list[Callable[[str], None]] = []

    def isolation(self, node: str = "") -> Isolation:
        return self.isolated

    def silent_s(self, node: str) -> float:
        return self.silent.get(node, 0.0)

    def capacity(self, node: str = "") -> Capacity:
        return self._capacity

    def fit(self, **capacity: Any) -> None:
        """The machine has this from now on: `gpus=2`."""
        self._capacity = replace(self._capacity, **capacity)

    def ensure(self, task: TaskSpec) -> None:
        if not task.name:
            raise ValueError("a task needs a name")
        with self._lock:
            seen = self._fences.get(task.name, 0)
            if task.fence < seen:
                raise ValueError(f"task '{task.name}': fence {task.fence} is older than {seen}, which was seen already")
            self._fences[task.name] = task.fence
            if task.name in self.states:
                return
            self.tasks[task.name] = task
            self.starts.append(task.name)
            address = Address(f"unix:/run/{task.name}.sock" if task.listens else "")
            self.states[task.name] = TaskState(name=task.name, address=address, accepted_at=self._clock())
        self._tell(task.owner)

    def observe(self, name: str) -> TaskState | None:
        return self.states.get(name)

    def stop(self, name: str, grace_s: float) -> None:
        state = self.states.get(name)
        if state is None or state.phase is Phase.EXITED:
            return
        self.stopping[name] = grace_s
        if self._obeys:
            self.stopped(name)

    def remove(self, name: str) -> None:
        with self._lock:
            if self.states.pop(name, None) is not None:
                self.removed.append(name)
            self.tasks.pop(name, None)
            self._fences.pop(name, None)

    def usage(self) -> Sequence[Usage]:
        return self.used

    def visit(self, name: str, visit: Visit) -> socket.socket:
        """`visits` has who came; the other end of each line is the test's."""
        ours, theirs = socket.socketpair()
        self.visits.append((name, visit, theirs))
        return ours

    def reach(self, name: str, port: int) -> socket.socket:
        """`reached` has the other end of each line."""
        if port not in {one.port for one in self.states[name].services.values()}:
            raise ArmError(409, "ServiceNotReachable", f"Nothing of this job listens at port {port} now.")
        ours, theirs = socket.socketpair()
        self.reached.append((name, port, theirs))
        return ours

    def owner(self, name: str) -> str:
        return self.tasks[name].owner if name in self.tasks else ""

    def serve(self, name: str, **services: ServiceState) -> None:
        """What the agent says of the task's services."""
        self._change(name, services=services)

    def watch(self, changed: Callable[[str], None]) -> None:
        self._watchers.append(changed)

    def close(self) -> None:
        self._watchers.clear()

    def start(self, name: str) -> None:
        self._change(name, phase=Phase.RUNNING, started_at=self._clock(), pid=4242)

    def ready(self, name: str, ready: bool = True) -> None:
        self._change(name, ready=ready)

    def hold(self, name: str, until: float, error: str) -> None:
        """Its command has failed; its walls stay."""
        self._change(name, held_until=until, error=error)

    def done(self, name: str) -> None:
        """Only ranks that serve others are left of it."""
        self._change(name, done=True)

    def finish(self, name: str, exit_code: int = 0, error: str = "") -> None:
        self._exit(name, Outcome.EXITED, exit_code=exit_code, error=error)

    def fail_setup(self, name: str, error: str) -> None:
        self._exit(name, Outcome.SETUP, error=error)

    def fail_build(self, name: str, error: str) -> None:
        self._exit(name, Outcome.BUILD, error=error)

    def lose(self, name: str) -> None:
        self._exit(name, Outcome.LOST, error="The agent of this task vanished (killed?).")

    def time_out(self, name: str) -> None:
        self._exit(name, Outcome.TIMEOUT, error="The command ran longer than its limit.")

    def end_over_limit(self, name: str, outcome: Outcome, error: str) -> None:
        self._exit(name, outcome, exit_code=137, error=error)

    def stopped(self, name: str) -> None:
        self._exit(name, Outcome.STOPPED, error="The task was stopped.")

    def _exit(self, name: str, outcome: Outcome, **values: Any) -> None:
        self._change(name, phase=Phase.EXITED, outcome=outcome, ready=False, ended_at=self._clock(), **values)

    def _change(self, name: str, **values: Any) -> None:
        with self._lock:
            if self.states[name].phase is Phase.EXITED:
                raise AssertionError(f"task '{name}' has ended; EXITED is final")
            self.states[name] = replace(self.states[name], **values)
            owner = self.tasks[name].owner
        self._tell(owner)

    def _tell(self, owner: str) -> None:
        for changed in list(self._watchers):
            changed(owner)
