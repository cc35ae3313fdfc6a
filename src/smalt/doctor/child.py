"""Something tried in a child process, which it may cripple: the parent stays as it is."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from smalt.agent import linux

PATIENCE_S = 1.0


def attempt(act: Callable[[], None]) -> OSError | None:
    """What `act` raises in a child; None if it comes to its end. Only while this process has one thread."""
    reader, writer = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        _act(act, writer, parent)
    os.close(writer)
    try:
        ready = linux.readable(reader, PATIENCE_S)
        said = os.read(reader, 64).decode() if ready else str(errno.ETIMEDOUT)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    number = int(said or errno.EPERM)  # without a word: a filter of system calls killed it
    return OSError(number, os.strerror(number)) if number else None


def _act(act: Callable[[], None], writer: int, parent: int) -> None:
    number = errno.EIO
    try:
        linux.die_with_parent(parent)
        act()
        number = 0
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.write(writer, str(number).encode())
        os._exit(0)
