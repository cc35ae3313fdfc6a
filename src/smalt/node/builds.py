"""Environments come to be where they are needed: tasks wait here for one that this node has not yet.

Another machine's is fetched, where the platform has one (`packs.py`). Else it is built, compiled to bytecode, packed
and stored for the others, one task after the other; those who need it wait for the first of them alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from smalt.agent.wire import Phase, Ref, TaskSpec
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import Engine, EnvironmentPlan, Login
from smalt.environments import UvEnvironments
from smalt.node.packs import NodePacks

_LOG = logging.getLogger(__name__)
_OWNER = "/smalt/node/environments/"
_AT_ONCE = 4  # that are fetched


class Builds:
    """`start(task)` is called when a task's environment is there, `fail(name, why)` when it cannot be had.

    A build is a task of the node's engine, so it goes on when the node service ends. What waits is kept in memory: the
    server sends it again to a node that does not know it.
    """

    def __init__(
        self,
        environments: UvEnvironments,
        engine: Engine,
        start: Callable[[TaskSpec], None],
        fail: Callable[[str, str], None],
        packs: NodePacks,
    ) -> None:
        self._environments, self._engine, self._packs = environments, engine, packs
        self._start, self._fail = start, fail
        self._waiting: dict[str, dict[str, TaskSpec]] = {}  # by the environment's key and the task's name
        self._fetching: set[str] = set()
        self._lock = threading.RLock()
        self._fetchers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch-environment")
        self._storing = ThreadPoolExecutor(1, thread_name_prefix="store-environment")
        for key in packs.left():
            self._storing.submit(packs.offer, key)

    @staticmethod
    def owns(owner: str) -> bool:
        return owner.startswith(_OWNER)

    def close(self) -> None:
        """What is being fetched or stored is left; builds go on."""
        self._packs.close()
        for pool in (self._fetchers, self._storing):
            pool.shutdown(wait=False, cancel_futures=True)

    def adopt(self, owners: Iterable[str]) -> None:
        """What ended while no service was here is followed by what comes after it, behind all else."""
        for owner in owners:
            self._storing.submit(self._adopt, owner)

    def _adopt(self, owner: str) -> None:
        try:
            self.look(owner)
        except Exception:
            _LOG.exception("environment %s could not be looked at", owner.removeprefix(_OWNER))

    def ready(self, task: TaskSpec) -> bool:
        return not task.environment or self._environments.built(task.environment) is not None

    def want(self, task: TaskSpec) -> None:
        """Fetch or build what the task lacks, unless that is under way."""
        key = task.environment
        with self._lock:
            self._waiting.setdefault(key, {})[task.name] = task
            if key not in self._fetching and not self._is_built_now(key):
                self._fetching.add(key)
                self._fetchers.submit(self._fetch, key, task.build.get("definition", {}))

    def drop(self, name: str) -> TaskSpec | None:
        """The task does not wait any more; None where it did not."""
        with self._lock:
            for tasks in self._waiting.values():
                if name in tasks:
                    return tasks.pop(name)
        return None

    def forget_waiting(self) -> None:
        """Before a hello, which says nothing of them: the server sends again what it still wants."""
        with self._lock:
            self._waiting.clear()

    def look(self, owner: str) -> None:
        """Something of an environment has changed: what has ended is followed by the next."""
        key = owner.removeprefix(_OWNER)
        with self._lock:
            if self._is_over(self._packing(key).name):
                self._storing.submit(self._packs.offer, key)
            if self._is_over(self._compiling(key).name):
                self._storing.submit(self._pack, key)
            if not self._is_over(self._name(key)):
                return
            if self._environments.built(key) is None:
                self._give_up(key, self._environments.failure(key))
                return
            for task in self._waiting.pop(key, {}).values():
                self._start(task)
            if not self._environments.came_packed(key):
                self._engine.ensure(self._compiling(key))  # nobody waits for the bytecode

    def _fetch(self, key: str, definition: Mapping[str, Any]) -> None:
        """And build, which unpacks what was fetched."""
        try:
            self._packs.fetch(key, definition)
        except Exception:  # the edge: then it is built, as if there were none
            _LOG.exception("environment %s could not be fetched", key)
        with self._lock:
            self._fetching.discard(key)
            waiting = list(self._waiting.get(key, {}).values())
            if waiting and not self._packs.closed:
                self._begin(waiting[0])
            else:
                self._packs.drop(key)

    def _begin(self, task: TaskSpec) -> None:
        try:
            build = self._build(task)
            before = self._engine.observe(build.name)
            if before is not None and before.phase is Phase.EXITED:  # an earlier try, which failed
                self._engine.remove(build.name)
            self._engine.ensure(build)
        except ArmError as error:
            self._give_up(task.environment, str(error))
        except Exception as error:  # the edge: whatever it is, those who wait must hear of it
            _LOG.exception("environment %s cannot be built", task.environment)
            self._give_up(task.environment, f"{type(error).__name__}: {error}")

    def _pack(self, key: str) -> None:
        """Where no other machine was first."""
        if self._packs.wanted(key):
            self._engine.ensure(self._packing(key))

    def _give_up(self, key: str, why: str) -> None:
        _LOG.warning("environment %s cannot be had: %s", key, why)
        for name in self._waiting.pop(key, {}):
            self._fail(name, why)

    def _is_built_now(self, key: str) -> bool:
        state = self._engine.observe(self._name(key))
        return state is not None and state.phase is not Phase.EXITED

    def _is_over(self, name: str) -> bool:
        """Whether this task has ended, which is removed then: its folder may hold the machine's variables."""
        state = self._engine.observe(name)
        if state is None or state.phase is not Phase.EXITED:
            return False
        self._engine.remove(name)
        return True

    def _build(self, task: TaskSpec) -> TaskSpec:
        """Raises ArmError(400)."""
        given: dict[str, Any] = task.build
        if "definition" not in given:
            raise invalid("The environment is not on this node, and nothing says how it is built.", "environmentId")
        plan = EnvironmentPlan(
            task.environment, self._environments.here(given["definition"]), str(given.get("summary", ""))
        )
        logins = {address: Login(*login) for address, login in given.get("logins", {}).items()}
        made = self._environments.task(plan, _OWNER + task.environment, 1, logins)
        return replace(made, log=Ref(*given["log"]) if given.get("log") else None, system_log=None)

    def _name(self, key: str) -> str:
        return self._environments.task(EnvironmentPlan(key, {}), _OWNER + key, 1).name

    def _compiling(self, key: str) -> TaskSpec:
        return replace(self._environments.compiling(key, _OWNER + key, 1), log=None)

    def _packing(self, key: str) -> TaskSpec:
        return self._environments.packing(key, _OWNER + key)
