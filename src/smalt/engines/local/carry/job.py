"""One task that is carried: what all who work for it share, how they wait, and how they learn that it is over."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from smalt.agent import wire
from smalt.agent.folder import RESERVE_FILE
from smalt.agent.journal import journal_at
from smalt.agent.wire import Outcome, TaskSpec
from smalt.arm.errors import ArmError
from smalt.engines.local.carry.mirror import Ledger, Mirror

T = TypeVar("T")
FULL = (errno.ENOSPC, errno.EDQUOT)
OURS = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS,
)  # fmt: skip  # errors of this machine that no other try mends
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 15.0
_SAY_EVERY_S = 30.0
_AFTER_STOP_S = 60.0  # so long a task that is to end waits for a store that fails


class Over(Exception):
    """The task was removed, or the engine is closed: nothing more is to be done here."""


class Ended(Exception):
    """The task is to end before its command starts."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Job:
    def __init__(self, folder: Path, lock: int) -> None:
        """`lock` is a descriptor; it is closed with the job."""
        self.folder = folder
        self.task = TaskSpec.from_json((folder / wire.TASK_FILE).read_text())
        self.mirror = Mirror(folder)
        self.ledger = Ledger(self.mirror.carry / "ledger")
        taken = self.task.system_log
        self.mirror.root.mkdir(parents=True, exist_ok=True)
        place = self.mirror.path_of(taken) if taken else None
        self.journal = journal_at(place, str(self.mirror.root), folder / "system.log")
        self.accepted_at = self.mirror.carry.stat().st_ctime
        reserve(folder)
        self._lock = lock
        self._over, self._holders = False, 0
        self._changed = threading.Condition()
        self._said: dict[str, float] = {}
        self._failing_since: float | None = None  # of the store, by the wall's clock, as a file's time is

    def end(self) -> None:
        """Once: from now on whoever works for it gets `Over`, and another engine may take it."""
        with self._changed:
            first, self._over = not self._over, True
            self._changed.notify_all()
            while self._holders:
                self._changed.wait()
            if first:
                os.close(self._lock)
                self.journal.close()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def check(self) -> None:
        if self._over:
            raise Over

    def check_start(self) -> None:
        """For what comes before the command: a stop ends it, and the task's own limit of time."""
        self.check()
        if (self.folder / wire.STOP_FILE).exists():
            raise Ended(Outcome.STOPPED, "The task was stopped before its command started.")
        limit_s = self.task.timeout_s
        if limit_s > 0 and time.time() - self.accepted_at > limit_s:
            raise Ended(Outcome.TIMEOUT, f"What the task needs was not here within its limit of {limit_s:g} s.")

    @contextmanager
    def held(self) -> Iterator[None]:
        """The task's folder is not removed as long as this block lasts (milliseconds). Others may hold it, too."""
        with self._changed:
            self.check()
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                if self._over:
                    self._changed.notify_all()

    def pause(self, seconds: float, check: Callable[[], None]) -> None:
        """Until then, or until `check` raises."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                check()
                self._changed.wait(min(left, 1.0))
        check()

    def patiently(
        self, do: Callable[[], T], check: Callable[[], None], patience_s: float | None = None, ours: bool = True
    ) -> T:
        """What `do` returns, tried again with growing pauses while the store fails.

        Raises ArmError, the store's own OSError after `patience_s` of them or soon after the task was to stop and, if
        `ours`, those of this machine.
        """
        begun, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                result = do()
                self._failing_since = None
                return result
            except OSError as error:
                if (ours and error.errno in (*FULL, *OURS)) or (patience_s and time.monotonic() - begun > patience_s):
                    raise
                if self._is_given_up():
                    raise
                self.complain("The store fails and is tried again", error)
            self.pause(pause_s * random.uniform(0.7, 1.3), check)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _is_given_up(self) -> bool:
        """Whether the task was to stop, and the store has failed for long since."""
        now = time.time()
        self._failing_since = self._failing_since or now
        try:
            asked_at = (self.folder / wire.STOP_FILE).stat().st_mtime
        except FileNotFoundError:
            return False
        return now - max(asked_at, self._failing_since) > _AFTER_STOP_S

    def complain(self, what: str, error: Exception) -> None:
        """In the system log, each thing only now and then."""
        now = time.monotonic()
        if now - self._said.get(what, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._said[what] = now
            self.say(f"{what}: {reason(error)}")

    def say(self, text: str) -> None:
        with self._changed:
            if not self._over:
                self.journal.say(text)


def reserve(folder: Path) -> None:
    """Room for the last state, as an agent keeps it."""
    with suppress(OSError):
        descriptor = os.open(folder / RESERVE_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(OSError):
            os.posix_fallocate(descriptor, 0, 64 << 10)
        os.close(descriptor)


def reason(error: Exception) -> str:
    if isinstance(error, ArmError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
