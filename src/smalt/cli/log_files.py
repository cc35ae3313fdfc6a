"""The logs of the platform's own processes: files that a process appends to, kept to a size and an age.

A start puts nothing aside: what an earlier process said before it died must outlive any number of starts.

A process writes to its file directly, so that its last words are there whatever happens to the supervisor. All open
them with O_APPEND, hence a file that grew too large can be copied aside and cut to nothing under its writer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

KEPT = 3
LIMIT_BYTES = 20 * 1024 * 1024
AGE_S = 30 * 86_400.0  # of what was put aside
_STARTED = "--- smalt up, "


@dataclass(frozen=True)
class LogFile:
    """`path`, and `path.1` … `path.3`, the newest first: what was put aside when `path` had reached its limit."""

    path: Path
    limit_bytes: int = LIMIT_BYTES

    def open(self) -> int:
        """A descriptor to append with; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def begin(self) -> None:
        """Mark where this start's lines begin."""
        with contextlib.suppress(OSError):  # a full disk
            descriptor = self.open()
            try:
                os.write(descriptor, f"{_STARTED}{datetime.now(UTC).isoformat(timespec='seconds')}\n".encode())
            finally:
                os.close(descriptor)

    def trim(self) -> bool:
        """Copy aside and empty a log above its limit; lines written in the microseconds between are lost.

        True if it did. What was put aside long ago goes.
        """
        self._forget()
        if self._size() <= self.limit_bytes:
            return False
        self._shift()
        temporary = self.path.with_name(f".{self.path.name}.rotating")
        shutil.copyfile(self.path, temporary)
        temporary.chmod(0o600)
        temporary.replace(self._numbered(1))
        os.truncate(self.path, 0)
        return True

    def tail(self, lines: int = 20) -> str:
        """The last lines of this start, or an empty text."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self._size() - 16_384))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        text = text.rpartition(_STARTED)[2].partition("\n")[2] if _STARTED in text else text
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _forget(self) -> None:
        for number in range(1, KEPT + 1):
            with contextlib.suppress(FileNotFoundError):
                if self._numbered(number).stat().st_mtime < time.time() - AGE_S:
                    self._numbered(number).unlink()

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _shift(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).replace(self._numbered(number + 1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
