"""Which files of the root nobody is shown, under whatever name: keys, databases, configurations, tasks' control files.

A job runs as the platform's user and may make a hard link to any of them among its outputs. Only a file with several
links is ever asked about, and most of those are innocent: replicas link models, jobs link their own files. So what is
compared is the file itself, by device and inode, with the private files that there are.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from smalt.settings import Settings

_FRESH_S = 1.0


class PrivateFiles:
    """`hides(status)` for what has more than one link. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._known: frozenset[tuple[int, int]] = frozenset()
        self._read_at = -_FRESH_S

    def hides(self, status: os.stat_result) -> bool:
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._known = frozenset(self._read())
                self._read_at = time.monotonic()
            return (status.st_dev, status.st_ino) in self._known

    def _read(self) -> Iterator[tuple[int, int]]:
        settings = self._settings
        yield from _files(settings.root)
        for folder in (settings.secrets, settings.tls, settings.gateway, settings.logs, settings.run):
            yield from _files_below(folder)
        for task in _folders(settings.tasks):
            yield from _files(task)


def _files(folder: Path) -> Iterator[tuple[int, int]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield status.st_dev, status.st_ino


def _files_below(folder: Path) -> Iterator[tuple[int, int]]:
    yield from _files(folder)
    for below in _folders(folder):
        yield from _files_below(below)


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []
