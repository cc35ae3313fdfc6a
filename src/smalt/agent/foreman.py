"""The ranks of a task: several processes behind the same walls, which end together.

The foreman is the agent's child, a copy of it that has gone behind the walls and given up its rights as every command
does. In place of becoming the command it forks one process for each rank and waits. When one fails it says so to the
agent, and ends the others: SIGTERM, SIGKILL after the task's grace. What it says are lines in a pipe:

    failed INDEX STATUS     the first rank that failed, and its status as of wait(2)
    done                    only ranks are left that serve others

A stop of the whole task reaches each rank from the agent itself.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from smalt.agent import linux

_LINE = 64  # bytes at most
_WAKING = (signal.SIGCHLD, signal.SIGTERM)


class Rank(NamedTuple):
    """`log`: a descriptor for what it says."""

    argv: list[str]
    environment: Mapping[str, str]
    log: int
    serves: bool = False


class Heard:
    """What the foreman of so many ranks said. Others may write there too, so nothing of it is taken on trust."""

    def __init__(self, ranks: int, changed: Callable[[], None]) -> None:
        self.failed: tuple[int, int] | None = None  # a rank's number, and its wait status
        self.done = False
        self._ranks = ranks
        self._rest = b""
        self._changed = changed
        self._pipe = -1
        self._selector: selectors.BaseSelector | None = None

    def attend(self, pipe: int, selector: selectors.BaseSelector) -> None:
        """From now on what comes out of `pipe`, which does not wait, is read as it comes."""
        self._pipe, self._selector = pipe, selector
        selector.register(pipe, selectors.EVENT_READ, self.read)

    def read(self) -> None:
        """Take what is there."""
        if self._selector is None:
            return
        try:
            data = os.read(self._pipe, 4096)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(self._pipe)
            self._selector = None
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LINE:]
        for line in lines:
            self._take(line.decode(errors="replace").split())

    def _take(self, words: list[str]) -> None:
        if words == ["done"]:
            self.done = True
            self._changed()
        elif len(words) == 3 and words[0] == "failed" and self.failed is None:
            with suppress(ValueError):
                rank, status = int(words[1]), int(words[2])
                if 0 <= rank < self._ranks and 0 < status < 1 << 16:
                    self.failed = rank, status


def lead(ranks: Sequence[Rank], report: int, problem: int, grace_s: float) -> NoReturn:
    """In the forked child, behind the walls: be the foreman. `problem` is told of what cannot be started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAKING)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    linux.set_process_name("smalt-foreman")
    linux.hide_memory()  # it is a copy of the agent, and the ranks are of the same user
    _close_all_but({0, 1, 2, report, problem, *(one.log for one in ranks)})
    mine = os.getpid()
    running: dict[int, int] = {}
    for number, one in enumerate(ranks):
        pid = os.fork()
        if pid == 0:
            _become(one, mine, problem)
        running[pid] = number
    for descriptor in {problem, *(one.log for one in ranks)}:
        os.close(descriptor)
    os._exit(_watch(ranks, running, report, grace_s))


def wait_for(order: Callable[[], list[str]]) -> list[str]:
    """In the forked child, behind the walls: what it is to become, which somebody tells it later."""
    linux.hide_memory()
    _close_all_but({0, 1, 2})
    return order()


def _watch(ranks: Sequence[Rank], running: dict[int, int], report: int, grace_s: float) -> int:
    """Until all have ended; the exit code."""
    code, kill_at, told, stopped = 0, None, False, False
    while True:
        for number, status in _ended(running):
            if status and not code:
                code = shell_code(status)
                if not stopped:
                    os.write(report, f"failed {number} {status}\n".encode())
                    _signal(running, signal.SIGTERM)
                    kill_at = time.monotonic() + grace_s
        if not running:
            return code
        if not code and not told and all(ranks[number].serves for number in running.values()):
            told = True
            os.write(report, b"done\n")
        if kill_at is not None and time.monotonic() >= kill_at:
            _signal(running, signal.SIGKILL)
            kill_at = None
        if kill_at is None:
            stopped |= signal.sigwaitinfo(_WAKING).si_signo == signal.SIGTERM
        else:
            signal.sigtimedwait(_WAKING, max(0.0, kill_at - time.monotonic()))


def _ended(running: dict[int, int]) -> list[tuple[int, int]]:
    """The numbers and the statuses of those that have, in the order in which they are found."""
    found: list[tuple[int, int]] = []
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        if pid in running:
            found.append((running.pop(pid), status))
    return found


def _signal(running: Mapping[int, int], number: int) -> None:
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, number)


def _become(rank: Rank, parent: int, problem: int) -> NoReturn:
    """In the forked child: turn into the rank. It has its own session, so that `kill 0` is its own alone."""
    try:
        os.setsid()
        linux.die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
        os.dup2(rank.log, 1)
        os.dup2(rank.log, 2)
        os.execvpe(rank.argv[0], rank.argv, rank.environment)
    except BaseException as error:  # whatever it is, it must not run the foreman's code
        text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        os.write(problem, f"A rank of this task could not be started: {text}.".encode())
    os._exit(127)


def _close_all_but(kept: set[int]) -> None:
    """Among what a copy of the agent holds is the task's lock."""
    first = 0
    for descriptor in (*sorted(kept), 1 << 20):
        if first < descriptor:  # closerange(0, 0) closes all
            os.closerange(first, descriptor)
        first = descriptor + 1


def shell_code(status: int) -> int:
    """Of how a process ended (`os.wait`), as a shell says it: 128+n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
