"""Namespaces of this process: what has to be done for each sort before something can live in it.

Made with unshare(2), as root or in a user namespace in which this user is itself. Sources: pid_namespaces(7),
user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path
from typing import NoReturn

from smalt.agent import linux

_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 1, 64
_MOST_KEPT = 256
_kept: dict[int, int] = {}  # by user


def raise_loopback() -> None:
    """127.0.0.1 answers in a new network only then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        fcntl.ioctl(line, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))


def stand_first() -> int:
    """Fork the first process of the namespace: it collects orphans, and everything in the namespace dies with it.

    It dies with the agent. After SIGUSR1 it ends as soon as nothing is left but itself.
    """
    alive, mine = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        _stand(alive)
    os.close(alive)  # `mine` stays open for as long as the agent lives
    return pid


def _stand(alive: int) -> NoReturn:
    try:
        os.setsid()
        linux.hide_memory()  # it is a copy of the agent, and the task may be of the same user
        linux.set_process_name("smalt-first")
        signal.set_wakeup_fd(-1)
        leaving: list[bool] = []
        signal.signal(signal.SIGUSR1, lambda _number, _frame: leaving.append(True))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGCHLD))
        for one in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(one) != alive:
                with contextlib.suppress(OSError):
                    os.close(int(one))
        linux.die_with_any_parent()
        os.set_blocking(alive, False)
        with contextlib.suppress(BlockingIOError):
            if os.read(alive, 1) == b"":
                os._exit(1)  # the agent was gone before we asked to die with it
        while True:
            left = _collect()
            if leaving and not left:
                os._exit(0)
            leaving += [True] if signal.sigwaitinfo((signal.SIGUSR1, signal.SIGCHLD)).si_signo == signal.SIGUSR1 else []
    finally:
        os._exit(1)


def _collect() -> bool:
    """Reap the dead; whether a child is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


def keep_owners_map(user: int) -> None:
    """Make the `owners_map` of this user now, for this process and all that it forks: it costs 4 ms. Raises OSError."""
    if not user or user in _kept:
        return
    if len(_kept) >= _MOST_KEPT:
        os.close(_kept.pop(next(iter(_kept))))
    _kept[user] = owners_map(user)


def owners_map(user: int) -> int:
    """A user namespace in which the files of this process's user are `user`'s, for mounts. A descriptor."""
    if user in _kept:
        return os.dup(_kept[user])
    ready, told = os.pipe()
    done, over = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(told, b"1")
            os.close(over)
            os.read(done, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(done)
    try:
        if not os.read(ready, 1):
            raise OSError("this machine allows no user namespaces")
        Path(f"/proc/{pid}/uid_map").write_text(f"{os.geteuid()} {user} 1")
        Path(f"/proc/{pid}/gid_map").write_text(f"{os.getegid()} {user} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.close(over)
        os.waitpid(pid, 0)


def become_root_of_nothing() -> None:
    """A user namespace in which this user is itself: the right to make the other namespaces, and none outside."""
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
