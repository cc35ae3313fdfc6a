"""The system log: what the agent itself did, when, and how long each stage took."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smalt.agent.beneath import made, open_plain


def open_log(path: Path, base: str = "", shared: bool = False) -> int:
    """A descriptor that reads `path` and appends to it, its folders made; every write is in the file at once.

    A log is where jobs may write too. So no link on the way to it below `base` is passed, and only a plain file is
    opened, which has no second name, unless it is `shared`. Raises OSError.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    with made(path.parent, base) as folder:
        try:
            return os.open(folder / path.name, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            descriptor = open_plain(folder / path.name, "", flags)
    if not shared and os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "this file has a second name (a hard link)", str(path))
    return descriptor


class Journal:
    """One line an event: `2025-01-31T12:00:00.123Z code copied 0.004 s`."""

    def __init__(self, path: Path, base: str = "") -> None:
        """`base` as in `open_log`. Raises OSError."""
        self._descriptor = open_log(path, base)

    def say(self, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        try:
            os.write(self._descriptor, f"{stamp}.{int(now % 1 * 1000):03d}Z {text}\n".encode(errors="replace"))
        except OSError:
            return  # a full disk must not fail the task for the sake of its log

    def close(self) -> None:
        os.close(self._descriptor)

    @contextmanager
    def stage(self, done: str) -> Iterator[None]:
        """Say `done` with the seconds it took, once it is."""
        begun = time.monotonic()
        yield
        self.say(f"{done} {time.monotonic() - begun:.3f} s")


def journal_at(place: Path | None, base: str, own: Path) -> Journal:
    """The journal at its place below `base`; in the task's `own` file where it has none, or cannot be written there."""
    if place is None:
        return Journal(own)
    try:
        return Journal(place, base)
    except OSError as error:
        journal = Journal(own)
        journal.say(f"the system log is kept here, for {place} cannot be written: {error.strerror}")
        return journal


def tail(descriptor: int, offset: int, lines: int = 20, limit_bytes: int = 8192) -> str:
    """The last lines of what was written to an open file after `offset`."""
    try:
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, limit_bytes, max(offset, size - limit_bytes))
    except OSError:
        return ""
    return "\n".join(data.decode(errors="replace").rstrip().splitlines()[-lines:])
