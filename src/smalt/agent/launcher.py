"""The agent process: `python -m smalt.agent.launcher TASK_DIR [--hints SOCKET] [--lock FD] [--bury]`.

Two processes share one task. The *agent* does the work. The *warden*, its parent, only waits: when the agent is killed,
everything it had started becomes the warden's children, which it ends, and then says so in the state, with what they
had said and nobody had read in the log. Both hold the
task's lock, so it is free only when nobody is left to look after the task; `--bury` is for that case.

Exactly once: the lock is taken before anything else, and a task that has a state was started.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from smalt.agent import linux, temporary_folder, wire
from smalt.agent.attempt import Attempt, open_task_log
from smalt.agent.folder import MARK_FILE, MARK_VARIABLE, TaskFolder
from smalt.agent.limits import recorded, stir
from smalt.agent.log_bound import rescue
from smalt.agent.pipes import Pipes, open_pipes
from smalt.agent.processes import Brood, end_marked
from smalt.agent.wire import Outcome, Phase, TaskSpec, TaskState

VANISHED = "The agent of this task vanished (killed?). What it had started was ended."


def main() -> None:
    arguments = sys.argv[1:]  # read by hand: argparse alone would be a tenth of the start
    burying = "--bury" in arguments
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    folder, hints = Path(arguments[0]), _option(arguments, "--hints")
    if burying:
        os.chdir(folder)
        _lock(-1, fcntl.LOCK_EX)
        bury(TaskFolder(Path.cwd(), hints))
    else:
        attend(folder, hints, int(_option(arguments, "--lock") or -1))


def attend(path: Path, hints: str, lock: int) -> None:
    """Look after the task in `path` to its end, unless it was started before. `lock` is its lock, or -1."""
    os.chdir(path)
    folder = TaskFolder(Path.cwd(), hints)
    try:
        _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another agent has this task
    if folder.state() is None:
        with contextlib.suppress(PermissionError):
            os.setsid()
        _guard(folder)


def bury(folder: TaskFolder) -> None:
    """For a task whose agent and warden are gone: end what is left of it, and say that it is lost."""
    groups = recorded(Path.cwd())
    groups.kill()
    with contextlib.suppress(FileNotFoundError):
        folder.mark = Path(MARK_FILE).read_text()  # the folder may have another name by now
        end_marked(MARK_VARIABLE, folder.mark)
        temporary_folder.remove_all(folder)
    groups.remove()
    _report_lost(folder, folder.state())


def _guard(folder: TaskFolder) -> None:
    """The warden."""
    linux.set_process_name("smalt-warden")
    linux.become_subreaper()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # keeps the pages that both processes share from being written
    try:
        spec = folder.spec()
        pipes = open_pipes(spec)
    except (OSError, ValueError, KeyError, TypeError):  # else nobody says a word, and it is begun again for ever
        bury(folder)
        raise
    agent = os.fork()
    if agent == 0:
        _work(folder, spec, pipes)
    pipes.close_writing()
    stir()
    brood = Brood()
    brood.adopt(agent)
    while brood.status is None:
        brood.reap(block=True)
    brood.end()
    for log, (reading, _), end in zip(spec.logs, pipes.logs, pipes.ends, strict=True):
        with contextlib.suppress(OSError):
            rescue(reading, partial(open_task_log, folder, spec, log, folder.places()), spec.log_most_bytes, end)
    state = folder.state()
    if state is None or state.phase is not Phase.EXITED:
        bury(folder)


def _work(folder: TaskFolder, spec: TaskSpec, pipes: Pipes) -> None:
    """The agent. It never returns into the warden's code."""
    code = 1
    try:
        linux.set_process_name("smalt-agent")
        linux.become_subreaper()
        Attempt(folder, spec, folder.places(), pipes).run()
        code = 0
    finally:
        os._exit(code)


def _report_lost(folder: TaskFolder, state: TaskState | None) -> None:
    if state is not None and state.phase is Phase.EXITED:
        return
    head = folder.head()
    lost = replace(
        state or TaskState(name=head.name),
        phase=Phase.EXITED,
        outcome=Outcome.LOST,
        error=VANISHED,
        ready=False,
        ended_at=time.time(),
    )
    folder.report(lost, head.owner)


def _option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def _lock(descriptor: int, how: int) -> None:
    """Hold the task's lock until this process ends. With a descriptor it was taken by whoever started us."""
    if descriptor < 0:
        descriptor = os.open(wire.LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.set_inheritable(descriptor, False)
    fcntl.flock(descriptor, how)


if __name__ == "__main__":
    main()
