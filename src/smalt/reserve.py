"""A file that keeps room on the disk: given up when nothing else is left, so that the platform starts and deletes work.

SQLite writes before it deletes, and a server at zero bytes cannot even open its database. Free space is that of the
root's file system for this user.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Reserve:
    """`needed_bytes`: with less free space than this nothing can be relied on to work."""

    root: Path
    size_bytes: int = 64 * MIB
    needed_bytes: int = 16 * MIB

    @property
    def path(self) -> Path:
        return self.root / "reserve"

    def free_bytes(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def lacking(self) -> bool:
        """Whether there is less free space than is needed, now."""
        return self.free_bytes() < self.needed_bytes

    def make_room(self) -> bool:
        """Give the reserve up where space is lacking; whether it was there and went now."""
        if not self.lacking():
            return False
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def restore(self) -> None:
        """Have it again, once that leaves three times its size free. A file system that cannot reserve has none."""
        if self.path.exists() or self.free_bytes() < 4 * self.size_bytes:
            return
        fresh = self.path.with_name(".reserve.new")
        try:
            with fresh.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size_bytes)
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
