"""Environments are built where they are needed: tasks wait here for one that this node has not yet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from smalt.agent.wire import Phase, Ref, TaskSpec
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import Engine, EnvironmentPlan, Login
from smalt.environments import UvEnvironments

_LOG = logging.getLogger(__name__)
_OWNER = "/smalt/node/environments/"


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
    ) -> None:
        self._environments, self._engine = environments, engine
        self._start, self._fail = start, fail
        self._waiting: dict[str, dict[str, TaskSpec]] = {}  # by the environment's key and the task's name
        self._lock = threading.RLock()

    @staticmethod
    def owns(owner: str) -> bool:
        return owner.startswith(_OWNER)

    def ready(self, task: TaskSpec) -> bool:
        return not task.environment or self._environments.built(task.environment) is not None

    def want(self, task: TaskSpec) -> None:
        """Build what the task lacks, unless that is under way."""
        with self._lock:
            self._waiting.setdefault(task.environment, {})[task.name] = task
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
        """A build has changed: has it ended?"""
        key = owner.removeprefix(_OWNER)
        with self._lock:
            self._tidy(self._compiling(key).name)
            name = self._name(key)
            state = self._engine.observe(name)
            if state is None or state.phase is not Phase.EXITED:
                return
            self._engine.remove(name)  # its folder holds the machine's variables
            if self._environments.built(key) is None:
                self._give_up(key, self._environments.failure(key))
                return
            for task in self._waiting.pop(key, {}).values():
                self._start(task)
            self._engine.ensure(self._compiling(key))  # nobody waits for the bytecode

    def _give_up(self, key: str, why: str) -> None:
        _LOG.warning("environment %s cannot be had: %s", key, why)
        for name in self._waiting.pop(key, {}):
            self._fail(name, why)

    def _tidy(self, name: str) -> None:
        state = self._engine.observe(name)
        if state is not None and state.phase is Phase.EXITED:
            self._engine.remove(name)

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
