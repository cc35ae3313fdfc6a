"""A log that does not fill the disk: its beginning and its end are kept, and what lay between is named.

The command writes to the file itself, so that its last words are there whatever happens to the agent. What goes
beyond the bound is cut off behind the writer, who appends (O_APPEND) and so goes on at the new end. Between two
looks the file may be longer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_EVERY_S = 2.0
END_BYTES = 64 << 10  # of the newest, put back at the end


class BoundedLog:
    """The part of `path` behind `offset`, of which about `most` bytes are kept."""

    def __init__(self, path: str, offset: int, most: int) -> None:
        self._path = Path(path)
        self._most = most
        self._begin = offset
        self._cut_at = 0  # where it is cut; 0: it was short enough so far
        self._dropped = 0
        self._newest = b""
        self.due = time.monotonic() + LOOK_EVERY_S

    def tick(self) -> None:
        """Cut it if it is time and it is too long."""
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + LOOK_EVERY_S
            self._cut()

    def finish(self) -> None:
        """The last cut, once nobody writes any more.

        Then the newest lines come back, and the last line says what is missing.
        """
        self._cut()
        if self._cut_at:
            missing = self._dropped - len(self._newest)
            newest = self._newest if self._newest.endswith(b"\n") else self._newest + b"\n"
            last = f"[smalt] {missing} bytes are missing above: a log holds {self._most} bytes, and its last lines.\n"
            self._append(b"[smalt] ...\n" + newest + last.encode())

    def _cut(self) -> None:
        try:
            size = self._path.stat().st_size
            keep = self._cut_at or self._begin + self._most
            if size <= keep:
                return
            beyond = size - keep
            with self._path.open("rb") as file:
                file.seek(max(keep, size - END_BYTES))
                self._newest = (self._newest + file.read(END_BYTES))[-END_BYTES:]
            os.truncate(self._path, keep)
        except OSError:  # gone, or not ours to cut: the disk's own limit is left
            return
        self._dropped += beyond
        if not self._cut_at:
            self._append(notice(self._most))
            self._cut_at = self._path.stat().st_size

    def _append(self, text: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(text)
        except OSError:
            return


def notice(most: int) -> bytes:
    """What stands behind the first `most` bytes of a log that is longer."""
    return (
        f"\n[smalt] This log holds {most} bytes, its bound. What comes now is dropped;"
        " the last lines follow at the end.\n"
    ).encode()
