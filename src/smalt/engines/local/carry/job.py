"""One task that is carried: what all who work for it share, how they wait, and how they learn that it is over."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from smalt.agent import wire
from smalt.agent.journal import Journal
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
        self.journal = Journal(str(self.mirror.path_of(taken) if taken else folder / "system.log"))
        self.accepted_at = self.mirror.carry.stat().st_ctime
        self._lock = lock
        self._over = False
        self._changed = threading.Condition()
        self._said: dict[str, float] = {}

    def end(self) -> None:
        """Once: from now on whoever works for it gets `Over`, and another engine may take it."""
        with self._changed:
            if not self._over:
                self._over = True
                os.close(self._lock)
                self.journal.close()
                self._changed.notify_all()

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
        """The task's folder is not removed as long as this block lasts (milliseconds)."""
        with self._changed:
            self.check()
            yield

    def pause(self, seconds: float, check: Callable[[], None]) -> None:
        """Until then, or until `check` raises."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                check()
                self._changed.wait(min(left, 1.0))
        check()

    def patiently(self, do: Callable[[], T], check: Callable[[], None], patience_s: float | None = None) -> T:
        """What `do` returns, tried again with growing pauses while the store fails.

        Raises ArmError, OSError of this machine, and the store's own OSError after `patience_s` of them.
        """
        begun, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            check()
            try:
                return do()
            except OSError as error:
                if error.errno in (*FULL, *OURS) or (patience_s and time.monotonic() - begun > patience_s):
                    raise
                self.complain("The store fails and is tried again", error)
            self.pause(pause_s * random.uniform(0.7, 1.3), check)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

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


def reason(error: Exception) -> str:
    if isinstance(error, ArmError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
