"""Logs: what a task writes is appended to the blob that it is in the store, soon after it was written.

A log that earlier attempts began goes on at its end: where that was is noted before anything is appended. So the
length that the store tells is where to go on, after a failure and after a restart. Nothing is taken back from a log
(`agent/log_bound.py`): it grows, or stays.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.job import Job
from smalt.engines.local.folders import write_private

_CHUNK = 4 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class Bases:
    """How long each log was in the store before the task wrote to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, int] = {}
        with suppress(FileNotFoundError):
            self._known = json.loads(path.read_text())

    def get(self, ref: Ref) -> int | None:
        return self._known.get(json.dumps(ref))

    def set(self, ref: Ref, length: int) -> None:
        self._known[json.dumps(ref)] = length
        write_private(self._path, json.dumps(self._known))


class Followed:
    """One log."""

    def __init__(self, job: Job, carrier: Carrier, bases: Bases, ref: Ref) -> None:
        self._job = job
        self._carrier = carrier
        self._bases = bases
        self._ref = ref
        self._path = job.mirror.path_of(ref)
        self._lock = threading.Lock()
        self._base: int | None = None
        self._at = 0  # so many bytes of the file are in the store
        self._refused = False
        self._pause_s, self.due = 0.0, 0.0
        self.busy = False

    def grew(self) -> bool:
        """Whether there is something to append, and it is time to try."""
        try:
            return not self._refused and time.monotonic() >= self.due and self._path.stat().st_size > self._at
        except FileNotFoundError:
            return False

    def push(self) -> None:
        """Append what is there. Raises nothing: what fails is tried again, a little later each time."""
        try:
            self._push()
            self._pause_s = 0.0
        except ArmError as error:
            self._refused = True
            self._job.complain("The log cannot be followed", error)
        except OSError as error:
            self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
            self.due = time.monotonic() + self._pause_s
            self._job.complain("The log cannot be followed yet", error)

    def finish(self) -> None:
        """All that is left, and the seal. Raises OSError; ArmError where the store takes neither."""
        if not self._path.exists():
            return
        try:
            self._push()
            self._carrier.seal(self._ref)
        except ArmError:
            self._rewrite()

    def _rewrite(self) -> None:
        """The whole blob anew, with what was there before, where nothing can be appended to it."""
        whole = self._job.mirror.carry / "whole"
        whole.unlink(missing_ok=True)
        if any(True for _ in self._carrier.list(self._ref)):
            self._carrier.fetch(self._ref, whole)
        base = self._bases.get(self._ref)
        with whole.open("ab") as file, self._path.open("rb") as ours:
            if base is None:
                self._bases.set(self._ref, file.tell())
            else:
                file.truncate(base)
            shutil.copyfileobj(ours, file)
        self._carrier.store(whole, self._ref)
        whole.unlink()

    def _push(self) -> None:
        with self._lock:
            if not self._path.exists():
                return
            base = self._begin() if self._base is None else self._base
            refusals = 0
            while data := self._read():
                at = base + self._at
                length = self._carrier.append(self._ref, at, data)
                if length == at + len(data):
                    self._at, refusals = self._at + len(data), 0
                    continue
                refusals += 1
                if refusals > 2:
                    raise OSError(f"'{self._ref.name}' does not grow as it should: it has {length} bytes")
                base = self._found(length, base)

    def _begin(self) -> int:
        """Where this task's part of the blob begins."""
        length = self._carrier.append(self._ref, 0, b"")
        base = self._bases.get(self._ref)
        if base is None:
            base = length
            self._bases.set(self._ref, base)
        self._base = base
        return self._found(length, base)

    def _found(self, length: int, base: int) -> int:
        """The store has `length` bytes: of this task's, or, where that cannot be, what others made of it."""
        size = self._path.stat().st_size
        if base <= length <= base + size:
            self._at = length - base
        else:
            base = self._base = length - self._at
            self._bases.set(self._ref, base)
        return base

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._at)
            return file.read(_CHUNK)
