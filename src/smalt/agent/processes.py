"""Starting the user's process, and ending it with everything it started.

The agent is a subreaper: whatever descends from it stays its descendant, however often it forks or calls setsid, so the
process tree is the truth and no process group has to be trusted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from smalt.agent import linux
from smalt.agent.foreman import Rank, lead, wait_for
from smalt.agent.rlimits import Rlimits

_RESET = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE)


Join = Callable[[], Callable[[], None] | None]  # enters the walls; gives what gives up the rights that this needed


class StartError(Exception):
    """The process could not be started; the message says why."""


@dataclass(frozen=True)
class Command:
    """`cgroups` are files that the process is written into before it becomes the command, `rlimits` what it sets.

    `log` receives what it says, and it is told nothing; -1: its three streams are those of this process.
    `order`: what waits for the `argv` that is run in place of this one.
    `ranks`: what a foreman starts in place of `argv`; what it has to say goes to `report`, and `grace_s` is what the
    others have where one has failed.
    `enter`, given the command's folder, moves it behind its walls and returns what gives up its rights for good;
    without, it runs in the open.
    """

    argv: list[str]
    environment: dict[str, str]
    folder: str
    log: int
    cgroups: list[str] = field(default_factory=list)
    may_mount: bool = True
    enter: Callable[[str], Callable[[], None]] | None = None
    rlimits: Rlimits = field(default_factory=dict[int, tuple[int, int]])
    order: Callable[[], list[str]] | None = None
    ranks: list[Rank] = field(default_factory=list[Rank])
    report: int = -1
    grace_s: float = 0


class Brood:
    """This process's descendants. `status` is the main one's wait status once it has ended.

    `first` is the first process of a task's own process namespace (0: it has none). It is there for the others, so it
    is asked to leave as soon as the main one has ended, unless somebody may still come in (`staying`).
    """

    def __init__(self) -> None:
        self.main = 0
        self.first = 0
        self.staying = False
        self.status: int | None = None

    def start(self, command: Command) -> None:
        """Returns when the command runs. It dies with this process. Raises StartError."""
        reading, writing = os.pipe()
        parent, alone = os.getpid(), not self.first
        pid, refused = forked(command.cgroups, lambda door: _become(command, parent, door, writing, alone))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            problem = pipe.read().decode(errors="replace")  # closed by exec
        if problem or refused:
            os.waitpid(pid, 0)
            raise StartError(problem or f"'{command.argv[0]}' could not be started: {refused}.")
        self.main = pid

    def pids(self) -> list[int]:
        """The task's processes that live. The first one of its namespace is not its own: it is a copy of this one."""
        return [pid for pid, _ in descendants(os.getpid()) if pid != self.first]

    def adopt(self, pid: int) -> None:
        """Take a child that was forked elsewhere as the main one."""
        self.main = pid

    def reap(self, block: bool = False) -> bool:
        """Collect the dead (after waiting for one, with `block`); returns whether any child is left."""
        options = 0 if block else os.WNOHANG
        while True:
            try:
                pid, status = os.waitpid(-1, options)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                self.status = status
                if not self.staying:
                    self.leave()
            options = os.WNOHANG

    def leave(self) -> None:
        """The first process ends with the last of the others."""
        if self.first:
            send(self.first, signal.SIGUSR1)

    def signal(self, number: int) -> None:
        """Send a signal to the main process's group and to every descendant outside of it."""
        if self.main and self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.main, number)
        for pid, group in descendants(os.getpid()):
            if group != self.main or self.status is not None:
                send(pid, number)

    def end(self) -> None:
        """Kill all that is left and wait for it."""
        while self.reap():
            for pid, _ in descendants(os.getpid()):
                send(pid, signal.SIGKILL)
            self.reap(block=True)


def descendants(root: int, zombies: bool = False) -> list[tuple[int, int]]:
    """(pid, process group) of all that descend from `root`."""
    children: dict[int, list[tuple[int, int]]] = {}
    for one in _processes():
        try:
            stat = Path(f"/proc/{one}/stat").read_bytes()
        except OSError:
            continue  # gone meanwhile
        state, parent, group = stat[stat.rindex(b")") + 2 :].split(None, 3)[:3]
        if zombies or state != b"Z":  # a zombie has no children
            children.setdefault(int(parent), []).append((one, int(group)))
    found: list[tuple[int, int]] = []
    pending = [root]
    while pending:
        for pid, group in children.get(pending.pop(), []):
            found.append((pid, group))
            pending.append(pid)
    return found


def end_marked(variable: str, mark: str) -> int:
    """Kill every process of the machine that was started with `variable=mark`, until none is left; returns how many.

    For tasks whose agents are gone: their processes are nobody's children any more.
    """
    wanted = f"{variable}={mark}".encode()
    killed = 0
    deadline = time.monotonic() + 10  # one that hangs in the kernel cannot be waited for
    while pids := [pid for pid in _processes() if pid != os.getpid() and wanted in _environment(pid)]:
        killed += kill_and_wait(pids)
        if time.monotonic() > deadline:
            break
    return killed


def kill_and_wait(pids: Iterable[int], within_s: float = 2) -> int:
    """SIGKILL; returns how many there were when they are gone, or `within_s` later: one that hangs in the kernel stays.

    A killed process is seen in /proc for some milliseconds more, without memory and variables, but in its folder.
    There may be more of them than this process may have files: all are killed before the first is waited for.
    """
    watched: list[int] = []
    others: list[int] = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                watched.append(os.pidfd_open(pid))
            except (ProcessLookupError, PermissionError):
                continue
            except OSError:  # no more files
                os.kill(pid, signal.SIGKILL)
                others.append(pid)
            else:
                signal.pidfd_send_signal(watched[-1], signal.SIGKILL)
    until = time.monotonic() + within_s
    for descriptor in watched:
        _until_gone(descriptor, until)
    for pid in others:
        with contextlib.suppress(OSError):
            _until_gone(os.pidfd_open(pid), until)
    return len(watched) + len(others)


def _until_gone(descriptor: int, until: float) -> None:
    """Closes it."""
    linux.readable(descriptor, max(until - time.monotonic(), 0))
    os.close(descriptor)


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _processes() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")  # empty for zombies
    except OSError:
        return []


def forked(cgroups: list[str], child: Callable[[int], NoReturn]) -> tuple[int, str]:
    """The process id of a child of this process, and why it could not be put into all of these control groups.

    `child(door)` reads a byte from `door` when it is, and the end where it could not be. The kernel takes some 14 ms to
    move a process (it waits for all processors): meanwhile the child does what it may do before. Raises OSError.
    """
    door, key = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(door)
        os.close(key)
        raise
    if pid == 0:
        os.close(key)
        child(door)
    os.close(door)
    refused = _put_into(cgroups, pid)
    with contextlib.suppress(BrokenPipeError), os.fdopen(key, "wb") as opening:  # the child has ended: it says why
        opening.write(b"" if refused else b"1")
    return pid, refused


def forget_signals() -> None:
    """In a forked child: signals do what they do in a process that was not told anything of them."""
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _put_into(cgroups: list[str], pid: int) -> str:
    """Why it could not be, in words; empty if it is in all of them."""
    try:
        for group in cgroups:
            Path(group).write_text(str(pid))
    except OSError as error:
        return f"{error.strerror} ({error.filename or 'its control group'})"
    return ""


def _become(command: Command, parent: int, door: int, problem: int, alone: bool) -> NoReturn:
    """In the forked child: turn into the command. Nothing of the agent is left but the log.

    `door`: gives a byte when it may, and its end when it may not. `alone`: no first process of a namespace takes it
    along when the agent dies.
    """
    try:
        os.setsid()
        if alone:
            linux.die_with_parent(parent)
        forget_signals()
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        prefer_for_oom()
        nothing = os.open(os.devnull, os.O_RDONLY)  # before its limit of open files: this process may have more
        for which, bounds in command.rlimits.items():
            resource.setrlimit(which, bounds)
        os.umask(0o022)  # noqa: TID251
        give_up = command.enter(command.folder) if command.enter else None
        if not os.read(door, 1):
            os._exit(127)
        if give_up:
            give_up()
        elif not command.may_mount:
            linux.drop_mount_capability()
        os.chdir(command.folder)
        if command.ranks:
            lead(command.ranks, command.report, problem, command.grace_s)
        if command.log >= 0:
            os.dup2(nothing, 0)
            os.dup2(command.log, 1)
            os.dup2(command.log, 2)
        argv = wait_for(command.order) if command.order else command.argv
        os.execvpe(argv[0], argv, command.environment)
    except BaseException as error:  # whatever it is, it must not run the agent's code a second time
        text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        said = f"'{command.argv[0]}' could not be started: {text}.".encode()
        with contextlib.suppress(BaseException):
            try:
                os.write(problem, said)
            except OSError:  # it is closed: this waited for an order
                os.write(2, said + b"\n")
    os._exit(127)


def prefer_for_oom() -> None:
    """When the machine runs out of memory, a job goes before the platform."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
