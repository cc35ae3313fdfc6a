"""The services of a task: programs beside its command, and who listens where.

No event tells that a process begins to listen, so the agent looks: often while something is starting, every few
seconds later. What has changed is reported: 20 times at once, then once in half a minute, whatever comes and goes. A
port counts only where a process of this task has it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smalt.agent import linux
from smalt.agent.bounds import SHARE
from smalt.agent.listening import Listener, listeners, sockets_of
from smalt.agent.processes import descendants
from smalt.agent.service_spec import FAILED, RUNNING, ServiceSpec, ServiceState

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _SETTLED_PAUSE_S = 0.05, 1.0, 5.0
_TOLD_MOST, _TOLD_EACH_S = 20, 30.0  # reports at once, and how long one more takes: each is a write of the server's
_TAIL_BYTES = 2000
_LOG = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class _Program:
    pid: int
    ended: int  # a pidfd
    log: int


class Services:
    """`due` and `look` are those of a `Bound`: it never ends the task.

    `pids`: the task's processes that live; `main`: the command's first. `start(argv, log)` runs a program behind the
    walls and returns its process id (OSError where it cannot); `has(program)` is whether the environment has it; logs
    are in `folder`, which the task may write to. `told` is given all states when one has changed.
    """

    def __init__(
        self,
        specs: Sequence[ServiceSpec],
        pids: Callable[[], list[int]],
        start: Callable[[list[str], int], int],
        has: Callable[[str], bool],
        folder: Path,
        told: Callable[[dict[str, ServiceState]], None],
        main: Callable[[], int] = lambda: 0,
    ) -> None:
        self._specs, self._pids, self._told, self._main = specs, pids, told, main
        self._states = {one.name: ServiceState() for one in specs}
        self._programs: dict[str, _Program] = {}
        self._seen: list[int] = []  # processes of the task, the last time that they were looked for
        self._own: set[str] = set()  # listening sockets that are known to be the task's
        self._pause_s, self._ran = _FIRST_PAUSE_S, False
        self._may_tell, self._counted_at = float(_TOLD_MOST), time.monotonic()
        self.due = time.monotonic() if specs else float("inf")
        for number, one in enumerate(specs):
            if one.programs:
                self._begin(one, start, has, folder / f"service-{number}.log")
        self._said = dict(self._states)
        if specs:
            told(self._said)

    def _begin(
        self, spec: ServiceSpec, start: Callable[[list[str], int], int], has: Callable[[str], bool], place: Path
    ) -> None:
        argv = next((one for one in spec.programs if has(one[0])), None)
        if argv is None:
            self._states[spec.name] = ServiceState(FAILED, error=spec.missing)
            return
        log = -1
        try:
            log = os.open(place, _LOG, 0o600)
            pid = start(argv, log)
            self._programs[spec.name] = _Program(pid, os.pidfd_open(pid), log)
        except OSError as error:
            if log >= 0:
                os.close(log)
            self._states[spec.name] = ServiceState(FAILED, error=f"{argv[0]} could not be started: {error.strerror}.")

    def look(self) -> None:
        if time.monotonic() < self.due:
            return
        begun_cpu = time.process_time()
        before = dict(self._states)
        pids = self._seen = self._pids()
        table = self._table(pids)
        for one in self._specs:
            if one.name in self._programs or not one.programs:
                self._states[one.name] = self._found(one, pids, table)
        if self._states != before:
            self._pause_s = _LONGEST_PAUSE_S if self._ran else _FIRST_PAUSE_S  # what comes and goes is told seldom
        if self._states != self._said:
            self._tell()
        self._ran |= any(one.status == RUNNING for one in self._states.values())
        starting = any(one.status not in (RUNNING, FAILED) for one in self._states.values())
        self._pause_s = min(self._pause_s * 1.3, _LONGEST_PAUSE_S) if starting else _SETTLED_PAUSE_S
        self.due = time.monotonic() + max(self._pause_s, (time.process_time() - begun_cpu) * SHARE)

    def _tell(self) -> None:
        """What is told too often waits for a later look."""
        now = time.monotonic()
        self._may_tell = min(self._may_tell + (now - self._counted_at) / _TOLD_EACH_S, float(_TOLD_MOST))
        self._counted_at = now
        if self._may_tell >= 1:
            self._may_tell -= 1
            self._said = dict(self._states)
            self._told(self._said)

    def address(self, port: int) -> str:
        """Of loopback, where a process of this task listens at that port; '' where none does."""
        known = (one for one in self._table(self._seen).get(port, []) if one.inode in self._own)
        if (found := next(known, None)) is not None:
            return found.address
        pids = self._seen = self._pids()
        return next((one.address for one in self._table(pids).get(port, []) if self._is_own(one, pids)), "")

    def _table(self, pids: Sequence[int]) -> dict[int, list[Listener]]:
        """Who listens, but this agent: its children have its sockets until they have become what they are to be."""
        ours = sockets_of([os.getpid()])
        found = next((found for pid in pids if (found := listeners(pid))), {})
        table = {port: [one for one in several if one.inode not in ours] for port, several in found.items()}
        self._own &= {one.inode for several in table.values() for one in several}
        return table

    def _is_own(self, one: Listener, pids: Sequence[int]) -> bool:
        if one.inode not in self._own:
            self._own |= sockets_of(pids) & {one.inode}
        return one.inode in self._own

    def _found(self, spec: ServiceSpec, pids: Sequence[int], table: dict[int, list[Listener]]) -> ServiceState:
        program = self._programs.get(spec.name)
        if program is not None and linux.readable(program.ended, 0):
            return ServiceState(FAILED, error=f"{spec.name} has ended. {_tail(program.log)}".strip())
        if spec.port:
            there = table.get(spec.port, [])
            if any(self._is_own(one, pids) for one in there):
                return ServiceState(RUNNING, spec.port)
            if there:
                why = f"Port {spec.port} is taken by something that is not of this job: choose another."
                return ServiceState(FAILED, error=why)
            return ServiceState(error=f"Nothing of this job listens at port {spec.port}.")
        port = _port_of(self._main() if program is None else program.pid, table)
        return ServiceState(RUNNING, port) if port else ServiceState(error="It does not listen yet.")


def _port_of(pid: int, table: dict[int, list[Listener]]) -> int:
    """Where a program listens: itself, else a process that it began."""
    for these in ([pid], [one for one, _ in descendants(pid)]):
        open_ = sockets_of(these)
        ports = [port for port, several in table.items() if any(one.inode in open_ for one in several)]
        if ports:
            return min(ports)
    return 0


def _tail(log: int) -> str:
    size = os.fstat(log).st_size
    return os.pread(log, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace").strip()
