"""`smalt down`: stop the platform; what runs on the nodes goes on, and is named, unless all of it is to end."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

from smalt.agent import linux
from smalt.cli import ray_head
from smalt.cli.port_holder import dismiss
from smalt.cli.root import CliError, resolve, take_lock, wait_for_holder
from smalt.cli.supervisor import GRACE_S
from smalt.cli.tasks import lines, observe_tasks, summary
from smalt.config import read_settings
from smalt.engines.local.shutdown import end_tasks
from smalt.settings import Settings

PATIENCE_S = 2 * GRACE_S + 5  # two rounds of programs, each with its grace


def run(root: Path | None, everything: bool = False) -> int:
    settings = read_settings(resolve(root))
    pid = wait_for_holder(settings.root)
    if pid is not None:
        stop(pid)
    dismiss(settings.run)  # also where the supervisor was killed
    print("Smalt has stopped." if pid is not None else f"Smalt is not running on {settings.root}.")
    if everything:
        _end(settings)
    else:
        _leave_unless_begun(settings)
    return 0


def _leave_unless_begun(settings: Settings) -> None:
    if settings.root.is_dir() and (lock := take_lock(settings.root)) is not None:  # else somebody starts it again
        with closing(lock):
            leave(settings)


def leave(settings: Settings) -> None:
    """End what is of no use without the platform, and say what goes on. Only for who holds the lock."""
    if not ray_head.busy(settings):
        ray_head.end(settings)
    left = observe_tasks(settings)
    if left:
        print(f"This goes on, and the next up adopts it; to end it: smalt down --all --root {settings.root}")
        print("\n".join(lines(left)))
    if ray_head.runs(settings):
        print("  Ray's head, as jobs run on its nodes")


def _end(settings: Settings) -> None:
    """All tasks, while no `up` can begin. Raises CliError where something does not end."""
    if not settings.root.is_dir():
        return
    found = observe_tasks(settings)
    lock = take_lock(settings.root)
    if lock is None:
        raise CliError(f"somebody starts the platform on {settings.root} now; nothing else was ended.")
    with closing(lock):
        left = [*ray_head.end(settings), *end_tasks(settings)]
    if left:
        raise CliError("this does not end, not even killed:\n" + "\n".join(lines(summary(left))))
    if found:
        print("Ended, as if the machine had gone down (jobs fail as NodeLost;")
        print("endpoints and compute instances start again at the next up):")
        print("\n".join(lines(found)))


def stop(pid: int, patience_s: float = PATIENCE_S) -> None:
    """SIGTERM to the supervisor; after `patience_s` SIGKILL, with which all its programs die.

    Returns when it is gone.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not linux.readable(pidfd, patience_s):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            linux.readable(pidfd, 5)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CliError(f"process {pid} belongs to another user.") from error
    finally:
        os.close(pidfd)
