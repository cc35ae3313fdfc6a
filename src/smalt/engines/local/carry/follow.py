"""Logs: what a task writes is appended to the blob that it is in the store, soon after it was written.

A log that earlier attempts began goes on at its end: where that was is noted before anything is appended. So the
length that the store tells is where to go on, after a failure and after a restart. Nothing is taken back from a log
(`agent/log_bound.py`): it grows, or stays. The task may write there too, so no link is followed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from smalt.agent.beneath import open_plain
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import UNREADABLE, Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.job import OURS, Job

_CHUNK = 4 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class Bases:
    """How long each log was in the store before the task wrote to it. Logs are followed by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        with suppress(FileNotFoundError, *UNREADABLE):  # what cannot be read costs lines told twice, and not the task
            self._known = dict(json.loads(path.read_text()))

    def get(self, ref: Ref) -> int | None:
        return self._known.get(json.dumps(ref))

    def set(self, ref: Ref, length: int) -> None:
        with self._lock:
            self._known[json.dumps(ref)] = length
            write_whole(self._path, json.dumps(self._known))


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

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._path.parent

    @property
    def base(self) -> str:
        """No link is followed from there to it."""
        return str(self._job.mirror.root)

    def grew(self) -> bool:
        """Whether there is something to append, and it is time to try."""
        if self._refused or time.monotonic() < self.due:
            return False
        try:
            file = self._open()
        except OSError:
            return False
        if file is None:
            return False
        with file:
            return _size(file) > self._at

    def push(self) -> bool:
        """Append what is there; whether that went well. Raises nothing: what fails is tried again, ever later."""
        try:
            if file := self._open():
                with file:
                    self._push(file)
            self._pause_s = 0.0
            return True
        except ArmError as error:
            self._refused = True
            self._job.complain("The log cannot be followed", error)
        except OSError as error:
            self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
            self.due = time.monotonic() + self._pause_s
            self._job.complain("The log cannot be followed yet", error)
        return False

    def finish(self) -> None:
        """All that is left, and the seal. Raises OSError; ArmError where the store takes neither."""
        file = self._open()
        if file is None:
            return
        with file:
            try:
                self._push(file)
                self._carrier.seal(self._ref)
            except ArmError:
                self._rewrite(file)

    def _open(self) -> BinaryIO | None:
        """None where there is nothing, or no plain file, which is said. Raises OSError."""
        try:
            return os.fdopen(open_plain(self._path, self.base, os.O_RDONLY), "rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in OURS:
                raise
            self._job.complain(f"'{self._ref.name}' is not followed", error)
            return None

    def _rewrite(self, ours: BinaryIO) -> None:
        """The whole blob anew, with what was there before, where nothing can be appended to it."""
        whole = self._job.mirror.carry / "whole"
        whole.unlink(missing_ok=True)
        if any(True for _ in self._carrier.list(self._ref)):
            self._carrier.fetch(self._ref, whole)
        base = self._bases.get(self._ref)
        ours.seek(0)
        with whole.open("ab") as file:
            if base is None:
                self._bases.set(self._ref, file.tell())
            else:
                file.truncate(base)
            shutil.copyfileobj(ours, file)
        self._carrier.store(whole, self._ref)
        whole.unlink()

    def _push(self, file: BinaryIO) -> None:
        with self._lock:
            base = self._begin(file) if self._base is None else self._base
            refusals = 0
            while data := self._read(file):
                at = base + self._at
                length = self._carrier.append(self._ref, at, data)
                if length == at + len(data):
                    self._at, refusals = self._at + len(data), 0
                    continue
                refusals += 1
                if refusals > 2:
                    raise OSError(f"'{self._ref.name}' does not grow as it should: it has {length} bytes")
                base = self._found(file, length, base)

    def _begin(self, file: BinaryIO) -> int:
        """Where this task's part of the blob begins."""
        length = self._carrier.append(self._ref, 0, b"")
        base = self._bases.get(self._ref)
        if base is None:
            base = length
            self._bases.set(self._ref, base)
        self._base = base
        return self._found(file, length, base)

    def _found(self, file: BinaryIO, length: int, base: int) -> int:
        """The store has `length` bytes: of this task's, or, where that cannot be, what others made of it."""
        if base <= length <= base + _size(file):
            self._at = length - base
        else:
            base = self._base = length - self._at
            self._bases.set(self._ref, base)
        return base

    def _read(self, file: BinaryIO) -> bytes:
        file.seek(self._at)
        return file.read(_CHUNK)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
