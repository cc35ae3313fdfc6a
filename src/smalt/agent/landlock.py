"""The weak walls, where a machine allows no namespaces: Landlock keeps a task's process from all files but its own.

The files of the machine, of other tasks and of the platform can be neither read nor changed. What it does not hold:
the process sees the others, and can connect to a unix socket whose path it knows; as of Linux 6.12 it cannot signal
what is outside. Source: landlock(7), https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from smalt.agent import linux
from smalt.agent.beneath import open_below
from smalt.agent.machine import DEVICES, ETC, TOP, gpu_devices, interpreter
from smalt.agent.wire import WallsSpec

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_SCOPES = 0b11  # no signals to what is outside, no connections to its abstract sockets
_KERNEL = ("/proc", "/sys")


class Fence:
    """As `Walls`, for a machine without namespaces: what is shown stays where it is."""

    active, temporary = False, ""
    refused = "this machine allows no mount namespaces"

    def __init__(self, spec: WallsSpec) -> None:
        self._spec = spec
        self._readable: list[tuple[str, str]] = []
        self._writable: list[tuple[str, str]] = []

    def bind_read_only(self, source: Path, target: Path, base: str = "") -> bool:
        """Only where it is already: what is to be seen elsewhere has to be copied."""
        if source == target:
            self._readable.append((str(source), base))
        return source == target

    def show(self, source: Path, writable: bool = False, base: str = "") -> None:
        (self._writable if writable else self._readable).append((str(source), base))

    def show_public(self, source: Path) -> None:
        self._readable.append((str(source), ""))

    def show_temporary(self, source: Path) -> None:
        self._writable.append((str(source), ""))

    def show_interpreter(self, python: Path) -> None:
        _, home = interpreter(python, self._spec.hidden)
        if home:
            self._readable.append((home, ""))

    def raise_up(self) -> int:
        return 0

    def enter(self, folder: str) -> Callable[[], None]:
        """In the child: with what it returns there is nothing else for this process and all that descends from it."""
        version = linux.landlock_version()
        everything = (1 << (16 if version >= 5 else 15 if version >= 3 else 14 if version >= 2 else 13)) - 1
        ruleset = linux.landlock_ruleset(everything, _SCOPES if version >= 6 else 0)
        machine = [*TOP, *(f"/etc/{name}" for name in ETC), *_KERNEL, "/etc/passwd", "/etc/group", "/etc/hosts"]
        for path, base in [
            *((one, "") for one in (*machine, *self._spec.readable, *self._spec.shown)),
            *self._readable,
        ]:
            _allow(ruleset, path, base, _READ)
        devices = [f"/dev/{one}" for one in (*DEVICES, *gpu_devices(self._spec.gpus), "shm", "pts")]
        for path, base in [*((one, "") for one in devices), *self._writable]:
            _allow(ruleset, path, base, everything)
        os.chdir(folder)

        def give_up() -> None:
            linux.give_up_privileges()
            linux.landlock_enforce(ruleset)

        return give_up

    def remember(self) -> None:
        """There is nothing to come back to."""

    def join(self, folder: str) -> Callable[[], None]:
        """In another child of the agent: the same fence."""
        return self.enter(folder)


def _allow(ruleset: int, path: str, base: str, access: int) -> None:
    try:
        opened = open_below(path, base)
    except FileNotFoundError:
        return  # this machine has no such thing
    try:
        folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        linux.landlock_allow(ruleset, opened, access if folder else access & _OF_FILES)
    finally:
        os.close(opened)
