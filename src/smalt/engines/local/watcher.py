"""One thread that waits for what agents say and for their deaths, so that nobody polls.

Agents say it themselves, by a datagram for each change. One that is killed says nothing: the kernel does, through a
pidfd, also for agents that an earlier server started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from smalt.agent.wire import Hint, Phase, TaskState
from smalt.engines.local.folders import Folders, read_owner, read_state

_LOG = logging.getLogger(__name__)


class Watcher:
    """`start` returns once nothing can be missed any more; `changed(owner)` is called from the thread only."""

    def __init__(self, folders: Folders, address: Path, changed: Callable[[str], None]) -> None:
        self._folders = folders
        self._address = address
        self._changed = changed
        self._selector = selectors.DefaultSelector()
        self._agents: dict[int, int] = {}  # pid → pidfd, of agents and their wardens
        self._followed: dict[str, list[int]] = {}  # task → their pids
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._ending, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="engine-watch", daemon=True)

    def start(self) -> None:
        self._address.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._address.unlink(missing_ok=True)
        self._channel.bind(str(self._address))
        self._address.chmod(0o600)
        self._selector.register(self._channel, selectors.EVENT_READ, None)
        self._selector.register(self._ending, selectors.EVENT_READ, None)
        self._thread.start()

    def close(self) -> None:
        os.close(self._end)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        for owner in self._adopt():
            self._tell(owner)
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._ending:
                    self._close_all()
                    return
                if self._selector.get_map().get(key.fd) is not key:
                    continue  # let go by an event before it
                try:
                    if key.fileobj is self._channel:
                        self._receive()
                    else:
                        self._process_ended(*key.data)
                except Exception:  # the edge: one task's unreadable folder must not end the news of all others
                    _LOG.exception("an event of the agents could not be followed")

    def _receive(self) -> None:
        """All that waits at once; one call for an owner however often its tasks changed.

        That a task is being prepared or tidied up after changes nothing for its owner: it is followed, and no more.
        """
        owners: dict[str, None] = {}
        while True:
            try:
                data = self._channel.recv(65536)
            except BlockingIOError:
                break
            try:
                hint = Hint.from_bytes(data)
            except ValueError:
                continue  # somebody else's datagram
            if not hint.task:  # from a command
                owners[hint.owner] = None
                continue
            try:
                state = self._follow(self._folders.of(hint.task), hint.owner)
                if state is None or state.phase in (Phase.RUNNING, Phase.EXITED):
                    owners[hint.owner] = None
            except OSError as error:
                owners[hint.owner] = None
                _LOG.warning("task %r cannot be followed: %s", hint.task, error)
        for owner in owners:
            self._tell(owner)

    def _adopt(self) -> list[str]:
        """Follow every agent that lives; returns the owners of unfinished tasks, which may have changed unseen."""
        owners: dict[str, None] = {}
        for folder in self._folders.all():
            try:
                state = read_state(folder)
                owner = read_owner(folder)
                if owner is not None and state is not None and state.phase is not Phase.EXITED:
                    owners[owner] = None
                    self._follow(folder, owner)
            except OSError as error:
                _LOG.warning("task %s cannot be read: %s", folder.name, error)
        return list(owners)

    def _follow(self, folder: Path, owner: str) -> TaskState | None:
        """The task's state. Whoever attends to it is watched until the task has ended: then all is said."""
        state = read_state(folder)
        if state is not None and state.phase is Phase.EXITED:
            self._let_go(folder.name)
        elif state is not None and state.agent_pid:
            self._follow_agent(state.agent_pid, folder, owner)
        return state

    def _follow_agent(self, agent: int, folder: Path, owner: str) -> None:
        if agent in self._agents:
            return
        warden = _warden_of(agent, folder)
        try:
            descriptor = os.pidfd_open(agent)
        except OSError:
            self._tell(owner)  # gone already
            return
        if not self._folders.attended(folder):  # the number may be another's by now
            os.close(descriptor)
            self._tell(owner)
            return
        self._watch(agent, descriptor, folder.name, owner)
        if warden is not None and warden not in self._agents:
            # Killed together, the agent may be gone first; the task is lost only once its warden is gone too.
            with contextlib.suppress(OSError):
                self._watch(warden, os.pidfd_open(warden), folder.name, owner)

    def _watch(self, pid: int, descriptor: int, task: str, owner: str) -> None:
        self._agents[pid] = descriptor
        self._followed.setdefault(task, []).append(pid)
        self._selector.register(descriptor, selectors.EVENT_READ, (pid, task, owner))

    def _process_ended(self, pid: int, task: str, owner: str) -> None:
        self._unwatch(pid)
        self._followed[task].remove(pid)
        if not self._followed[task]:
            del self._followed[task]
        self._tell(owner)

    def _let_go(self, task: str) -> None:
        for pid in self._followed.pop(task, []):
            self._unwatch(pid)

    def _unwatch(self, pid: int) -> None:
        descriptor = self._agents.pop(pid)
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _tell(self, owner: str) -> None:
        try:
            self._changed(owner)
        except Exception:  # the edge: whoever is told must not end the telling
            _LOG.exception("being told that %s changed failed", owner)

    def _close_all(self) -> None:
        for descriptor in self._agents.values():
            os.close(descriptor)
        self._selector.close()
        self._channel.close()
        os.close(self._ending)
        with contextlib.suppress(OSError):
            self._address.unlink()


def _warden_of(agent: int, folder: Path) -> int | None:
    """The number of the agent's parent if that is its warden: it works in the task's folder as the agent does."""
    try:
        parent = int(Path(f"/proc/{agent}/stat").read_bytes().rpartition(b")")[2].split()[1])
        return parent if Path(f"/proc/{parent}/cwd").samefile(folder) else None
    except OSError:
        return None  # one of them is gone
