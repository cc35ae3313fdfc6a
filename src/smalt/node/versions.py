"""Which versions of packages a task runs with: told to the platform, because each machine may have chosen its own."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from smalt.agent.wire import Phase, Ref, TaskSpec, TaskState
from smalt.arm.errors import ArmError
from smalt.environments import UvEnvironments
from smalt.node.carrier import NodeCarrier

_LOG = logging.getLogger(__name__)
_AT_ONCE = 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class Versions:
    """`tell` has them written down; until they are, the task has not ended (`see`). `changed(name)`: they are now."""

    def __init__(self, environments: UvEnvironments, carrier: NodeCarrier, changed: Callable[[str], None]) -> None:
        self._environments, self._carrier, self._changed = environments, carrier, changed
        self._pending: set[str] = set()
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="versions")

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def tell(self, task: TaskSpec) -> None:
        """Where the task says a place for them, and its environment has packages."""
        place, lock = task.build.get("versions"), self._environments.lock(task.environment)
        if place and lock is not None:
            self._pending.add(task.name)
            self._pool.submit(self._tell, task.name, Ref(*place), json.dumps(dict(lock)).encode())

    def see(self, name: str, state: TaskState | None) -> TaskState | None:
        """The state, which is no end while the platform does not know them."""
        if state is None or state.phase is not Phase.EXITED or name not in self._pending:
            return state
        return replace(state, phase=Phase.FINALIZING, outcome=None, exit_code=None, ended_at=0)

    def forget(self, name: str) -> None:
        self._pending.discard(name)

    def _tell(self, name: str, place: Ref, text: bytes) -> None:
        pause = _FIRST_PAUSE_S
        while name in self._pending and not self._closed.is_set():
            try:
                self._carrier.write(place, text)
                break
            except ArmError as error:  # the platform does not want it: the task is lost there, perhaps
                _LOG.warning("the versions that task %s has are not taken: %s", name, error)
                break
            except OSError as error:
                _LOG.warning("the versions that task %s has cannot be told yet: %s", name, error)
                self._closed.wait(pause * random.uniform(0.7, 1.3))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except Exception:  # the edge: a task must not wait for it for ever
                _LOG.exception("the versions that task %s has cannot be told", name)
                break
        self.forget(name)
        self._changed(name)
