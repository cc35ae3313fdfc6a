"""The system log: what the agent itself did, when, and how long each stage took."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_log(path: str) -> int:
    """A descriptor that appends to `path`, its folders made; every write is in the file at once."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class Journal:
    """One line an event: `2025-01-31T12:00:00.123Z code copied 0.004 s`."""

    def __init__(self, path: str) -> None:
        self._descriptor = open_log(path)

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


def tail(path: str, offset: int, lines: int = 20, limit_bytes: int = 8192) -> str:
    """The last lines of what was written to `path` after `offset`."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - limit_bytes))
            data = file.read(limit_bytes)
    except OSError:
        return ""
    return "\n".join(data.decode(errors="replace").rstrip().splitlines()[-lines:])
