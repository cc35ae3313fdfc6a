"""`Engine` on this machine. The engine itself holds no state: folders and locks do, so any number of them may look.

Exactly once, whichever line a crash hits: the engine takes the task's lock and hands it on to the agent it spawns; a
task with a state was started; without a state and with its lock free it was not, and `ensure` starts it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from smalt.agent import wire
from smalt.agent.limits import recorded
from smalt.agent.visit import Visit
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import Address, Outcome, Phase, Places, StopRequest, TaskSpec, TaskState
from smalt.arm.ports import Capacity, Isolation, Usage
from smalt.engines.local.capacity import machine_capacity
from smalt.engines.local.carry import Carriage
from smalt.engines.local.carry.mirror import Mirror
from smalt.engines.local.doors import knock, reach
from smalt.engines.local.folders import (
    TRASH,
    Folders,
    delete_tree,
    read_fence,
    read_head,
    read_owner,
    read_state,
    take_lock,
    write_fence,
)
from smalt.engines.local.graves import Graves
from smalt.engines.local.isolation import Walling
from smalt.engines.local.meter import Meter
from smalt.engines.local.places import Finder
from smalt.engines.local.spawn import Nursery, bury, spawn_agent
from smalt.engines.local.watcher import Watcher
from smalt.settings import Settings

_LOG = logging.getLogger(__name__)
_ENDED = ".ended"  # of a grave's name: there is nothing left to do but to delete it
_VANISHED = "The agent of this task vanished (killed?)."


class LocalEngine:
    """See `arm.ports.Engine` for the contract. Construct it once for each server; `close` ends what belongs to it.

    `finder` says what the names of a task are here; without it nothing can be started, only looked at and ended.
    `nursery` keeps a process that forks agents in milliseconds; without it each agent is an interpreter of its own.
    `gpus`: the indices of the machine's that are this engine's; None: all.
    """

    def __init__(
        self, settings: Settings, finder: Finder | None = None, nursery: bool = True, gpus: Sequence[int] | None = None
    ) -> None:
        self._gpus = gpus
        self._finder = finder
        self._nursery = Nursery() if nursery else None
        self._folders = Folders(settings.tasks)
        self._hints = settings.hints_socket
        self._run, self._older = settings.run, settings.root / "serving"
        self._watcher: Watcher | None = None
        self._meter = Meter(settings)
        self._walling = Walling(settings, gpus)
        self._graves = Graves()
        self._busy: set[Path] = set()  # graves whose control groups could not go yet
        self._sweep()
        self._carriage: Carriage | None = None
        if finder and finder.carrier:
            self._carriage = Carriage(settings, self._folders, finder.carrier, self._launch_carried, self._observe)
            self._carriage.adopt()

    def capacity(self, node: str = "") -> Capacity:
        found = machine_capacity()
        return found if self._gpus is None else replace(found, gpus=len(self._gpus))

    def isolation(self, node: str = "") -> Isolation:
        return self._walling.isolation()

    def silent_s(self, node: str) -> float:
        return 0.0

    def ensure(self, task: TaskSpec) -> None:
        if not task.name:
            raise ValueError("a task needs a name")
        folder = self._folders.of(task.name)
        walled = self._walling.around(task) if read_state(folder) is None else None  # which may take long, once
        with self._folders.door(exclusive=True):
            folder.mkdir(mode=0o700, exist_ok=True)
            seen = read_fence(folder)
            if task.fence < seen:
                raise ValueError(f"task '{task.name}': fence {task.fence} is older than {seen}, which was seen already")
            if task.fence > seen:
                write_fence(folder, task.fence)
            if read_state(folder) is None:
                start = self._start if self._carriage is None else self._accept
                start(folder, walled or self._walling.around(task))  # one of this name was there, and removed since
        if self._carriage is not None:
            self._carriage.take(folder)

    def observe(self, name: str) -> TaskState | None:
        folder = self._folders.of(name)
        state = self._observe(folder, name)
        if self._carriage is not None and read_head(folder) is not None:  # else nobody can carry it, nor finish
            state = self._carriage.seen(folder, name, state)
        if state is not None and state.ready and not state.address:  # its agent is of a version that did not say it
            return replace(state, address=Address(f"unix:{self._listens(folder)}.sock"))
        return state

    def _observe(self, folder: Path, name: str) -> TaskState | None:
        state = read_state(folder)
        if state is not None and state.phase is Phase.EXITED:
            return state
        if self._folders.attended(folder):
            return read_state(folder) or TaskState(name=name)
        state = read_state(folder)
        if state is None or state.phase is Phase.EXITED:
            return state
        return self._lost(folder, state)

    def stop(self, name: str, grace_s: float) -> None:
        folder = self._folders.of(name)
        state = read_state(folder)
        if not folder.exists():
            return
        if state is not None and state.phase is Phase.EXITED:
            if self._carriage is not None and Mirror(folder).unpublished:
                write_whole(folder / wire.STOP_FILE, StopRequest(max(0.0, grace_s)).to_json())
                self._carriage.stopped(folder)
            return
        attended = self._folders.attended(folder)
        if not attended and state is not None:
            self._lost(folder, state)
        elif attended or (self._carriage is not None and Mirror(folder).taken):
            write_whole(folder / wire.STOP_FILE, StopRequest(max(0.0, grace_s)).to_json())
            self._signal(folder, signal.SIGUSR1)
            if self._carriage is not None:
                self._carriage.stopped(folder)

    def remove(self, name: str) -> None:
        folder = self._folders.of(name)
        if self._carriage is not None:
            self._carriage.drop(folder)
        with self._folders.door(exclusive=True):
            grave = self._folders.discard(folder)
        if grave is not None:
            self._dispose(grave, self._graves.take)
        for busy in list(self._busy - {grave}):
            try:
                self._busy.remove(busy)
            except KeyError:  # another removal has it
                continue
            self._dispose(busy, self._graves.take)
        if self._carriage is not None:
            self._carriage.settle()

    def usage(self) -> Sequence[Usage]:
        return self._meter.read()

    def owners(self) -> dict[str, str]:
        """Whose each task of this root is, by the task's name."""
        heads = [head for folder in self._folders.all() if (head := read_head(folder)) is not None]
        return {head.name: head.owner for head in heads}

    def visit(self, name: str, visit: Visit) -> socket.socket:
        return knock(self._folders.of(name), visit)

    def reach(self, name: str, port: int) -> socket.socket:
        return reach(self._folders.of(name), port)

    def owner(self, name: str) -> str:
        return read_owner(self._folders.of(name)) or ""

    def watch(self, changed: Callable[[str], None]) -> None:
        if self._watcher is not None:
            raise RuntimeError("this engine is watched already")
        carriage = self._carriage

        def told(owner: str) -> None:
            if carriage is not None:
                carriage.nudge(owner)
            changed(owner)

        self._watcher = Watcher(self._folders, self._hints, told)
        self._watcher.start()
        threading.Thread(target=self._warm_up, name="engine-warm-up", daemon=True).start()

    def close(self) -> None:
        """End the engine's threads, and the nursery. Tasks go on."""
        if self._carriage is not None:
            self._carriage.close()
        self._graves.close()
        if self._nursery is not None:
            self._nursery.close()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _warm_up(self) -> None:
        """What would take the first task 0.2 s: finding out what the machine allows, and starting the nursery."""
        if self._nursery is not None and self._finder is not None:
            self._nursery.warm_up()
        self._walling.isolation()

    def _start(self, folder: Path, task: TaskSpec) -> None:
        """Behind the door: start an agent, unless one is just starting."""
        if self._finder is None:
            raise RuntimeError("this engine starts nothing")
        places = self._finder.places(task, Address(f"unix:{self._listens(folder)}/sock"))
        self._launch(folder, lambda: _write_task(folder, task, places))

    def _accept(self, folder: Path, task: TaskSpec) -> None:
        """Behind the door: as `_start`, but that the carriage starts the agent once everything is here."""
        assert self._finder is not None
        mirror = Mirror(folder)
        if not mirror.taken or read_head(folder) is None:
            places = self._finder.places(task, Address(f"unix:{self._listens(folder)}/sock"), mirror)
            _write_task(folder, task, places)
            mirror.carry.mkdir(mode=0o700, exist_ok=True)

    def _launch_carried(self, folder: Path, check: Callable[[], None]) -> None:
        with self._folders.door(exclusive=True):
            check()
            if read_state(folder) is None:
                self._launch(folder, check)

    def _launch(self, folder: Path, write: Callable[[], None]) -> None:
        for start in self._starters():
            # Taken anew for each: an agent that the first did start shares the first's lock, and bars the second.
            lock = take_lock(folder)
            if lock is None:
                return
            try:
                write()
                start(folder, self._hints, lock)
                return
            except OSError as error:
                if start is spawn_agent:
                    raise
                _LOG.warning("the nursery failed (%s); the agent of %s is started without it", error, folder.name)
            finally:
                os.close(lock)

    def _listens(self, folder: Path) -> Path:
        """The folder of the socket at which the task in `folder` listens, if it does: of its own, because a walled task
        sees all of it. With the socket's name it fits the 107 bytes of an address.
        """
        name = folder.name if len(folder.name) <= 32 else hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:32]
        return self._run / name

    def _starters(self) -> list[Callable[[Path, Path, int], None]]:
        return [spawn_agent] if self._nursery is None else [self._nursery.start_agent, spawn_agent]

    def _signal(self, folder: Path, number: int) -> None:
        """To the agent, if it is alive.

        Its number is looked up first and its life checked after, so no other gets it.
        """
        state = read_state(folder)
        if state is None or not state.agent_pid:
            return  # it looks for a request before it starts anything
        try:
            descriptor = os.pidfd_open(state.agent_pid)
        except ProcessLookupError:
            return
        try:
            if self._folders.attended(folder):
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)

    def _lost(self, folder: Path, state: TaskState) -> TaskState:
        self._bury(folder)
        now = read_state(folder)
        if now is not None and now.phase is Phase.EXITED:
            return now
        return replace(
            state, phase=Phase.EXITED, outcome=Outcome.LOST, error=_VANISHED, ready=False, ended_at=time.time()
        )

    def _bury(self, folder: Path) -> None:
        try:
            bury(folder, self._hints)
        except (OSError, subprocess.SubprocessError) as error:
            _LOG.warning("what is left of task %s could not be ended: %s", folder.name, error)

    def _sweep(self) -> None:
        """Finish removals that a crash cut short, and what versions before kept of replicas that are gone."""
        for grave in sorted((self._folders.root / TRASH).iterdir()):
            if grave.suffix == _ENDED:
                self._graves.find(grave)
                continue
            try:
                self._dispose(grave, self._graves.find)
            except Exception:  # the edge: what one task has left must not keep all others from being adopted
                _LOG.exception("what is left of task %s could not be ended; the next start tries again", grave.name)
        for replica in self._older.glob("*/*"):
            if not self._folders.of(replica.name).exists():
                self._graves.find(replica)

    def _dispose(self, grave: Path, take: Callable[[Path], None]) -> None:
        """End what is left of the task; its files go behind."""
        state = read_state(grave)
        if state is None or state.phase is not Phase.EXITED:
            # An agent that is just starting has no number yet; it reads the request before it starts anything.
            write_whole(grave / wire.STOP_FILE, StopRequest(0).to_json())
            self._signal(grave, signal.SIGKILL)
            self._bury(grave)
        (grave / wire.TASK_FILE).unlink(missing_ok=True)  # with variables that may be secret
        listened = self._listens(grave.with_suffix(""))
        if listened.is_dir():
            delete_tree(listened)
        listened.with_name(f"{listened.name}.sock").unlink(missing_ok=True)  # of a version before
        if recorded(grave).remove():
            take(grave.rename(grave.with_name(grave.name + _ENDED)))
        else:  # the kernel still holds one: with the next removal, or the next start
            self._busy.add(grave)


def _write_task(folder: Path, task: TaskSpec, places: Places) -> None:
    write_whole(folder / wire.TASK_FILE, task.to_json())
    write_whole(folder / wire.PLACES_FILE, places.to_json())
