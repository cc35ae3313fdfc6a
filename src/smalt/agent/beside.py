"""Programs beside a task's command: behind the same walls, as the same user, in the same control groups."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from typing import NoReturn

from smalt.agent import linux
from smalt.agent.processes import Command, Join, forget_signals, forked, prefer_for_oom


def has(command: Command, program: str) -> bool:
    """Whether the command would find it on its PATH."""
    return shutil.which(program, path=command.environment.get("PATH", "")) is not None


def start(command: Command, join: Join, argv: list[str], log: int) -> int:
    """The process id of `argv`, which says what it has to say to `log`. It ends with the agent. Raises OSError."""
    pid, _ = forked(command.cgroups, lambda door: _become(command, join, argv, log, door))
    return pid


def _become(command: Command, join: Join, argv: list[str], log: int, door: int) -> NoReturn:
    """In the forked child: nothing of the agent is left but the log."""
    try:
        os.setsid()
        linux.die_with_any_parent()
        forget_signals()
        prefer_for_oom()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, stream in enumerate((nothing, log, log)):
            os.dup2(stream, number)
        if not os.read(door, 1):
            os._exit(127)
        give_up = join()
        os.umask(0o022)  # noqa: TID251
        for which, bounds in command.rlimits.items():
            resource.setrlimit(which, bounds)
        if give_up:
            give_up()
        os.chdir(command.folder)
        os.execvpe(argv[0], argv, command.environment)
    except BaseException as error:  # whatever it is, it must not run the agent's code
        text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        with contextlib.suppress(OSError):
            os.write(2, f"'{argv[0]}' could not be started: {text}.\n".encode())
    os._exit(127)
