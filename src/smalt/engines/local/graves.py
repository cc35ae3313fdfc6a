"""Folders that are out of sight already are deleted behind everybody's back: a job's end waits for no 100,000 files.

What waits is on disk, where the next start finds it. At most `_MOST` wait; then whoever brings one deletes it himself.
A start waits for none of what it finds, however many: they go when nothing else waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path

from smalt.engines.local.folders import delete_tree

_MOST = 1000
_LOG = logging.getLogger(__name__)


class Graves:
    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._waiting: deque[Path] = deque()
        self._found: deque[Path] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def take(self, folder: Path) -> None:
        with self._changed:
            if taken := not self._closed and len(self._waiting) < self._most:
                self._put(self._waiting, folder)
        if not taken:
            delete_tree(folder)

    def find(self, folder: Path) -> None:
        """As a start does."""
        with self._changed:
            self._put(self._found, folder)

    def _put(self, among: deque[Path], folder: Path) -> None:
        among.append(folder)
        self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="graves", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """The one that is being deleted may still go; the others stay."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._found or self._closed)
                if self._closed:
                    return
                folder = (self._waiting or self._found).popleft()
            try:
                delete_tree(folder)
            except Exception:
                _LOG.exception("%s could not be deleted; the next start tries again", folder)
