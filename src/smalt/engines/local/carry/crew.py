"""Threads of one purpose, started when there is work. They hold up nobody who ends, however long a call may hang."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
_CHECK_EVERY_S = 1.0  # what nobody announces, such as a time limit


class Crew:
    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting, self._threads = 0, 0

    def submit(self, do: Callable[[], None]) -> None:
        """`do` raises nothing. Raises RuntimeError where there is no thread, and none can be started."""
        with self._lock:
            self._waiting += 1
            grows = self._waiting > self._threads and self._threads < self._most
            self._threads += grows
        if grows and not self._start() and not self._threads:
            with self._lock:
                self._waiting -= 1
            raise RuntimeError(f"no thread can be started for {self._name}")
        self._work.put(do)

    def each(self, items: Iterable[T], do: Callable[[T], None], check: Callable[[], None]) -> None:
        """`do` all of them side by side. Raises the first error, once what was begun has ended, or what `check` raises,
        at once; nothing more is begun then.
        """
        batch = Batch(do)
        try:
            for one in items:
                batch.wait(2 * self._most, check)
                batch.add()
                self.submit(lambda one=one: batch.run(one))
            batch.wait(1, check)
        except Exception:
            batch.over = True
            batch.settle(check)
            raise
        finally:
            batch.over = True

    def close(self) -> None:
        """The threads end when they have done what they do."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put(None)
            self._threads = self._most = 0

    def _start(self) -> bool:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # the machine has no more; those that there are do it
            with self._lock:
                self._threads -= 1
            return False
        return True

    def _run(self) -> None:
        while (do := self._work.get()) is not None:
            do()
            with self._lock:
                self._waiting -= 1


class Batch(Generic[T]):
    """What one `each` waits for."""

    def __init__(self, do: Callable[[T], None]) -> None:
        self.over = False
        self._do = do
        self._pending = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def add(self) -> None:
        with self._changed:
            self._pending += 1

    def run(self, one: T) -> None:
        error = None
        try:
            if not self.over:
                self._do(one)
        except BaseException as raised:  # the waiting thread raises it
            error = raised
        with self._changed:
            self._error = self._error or error
            self.over = self.over or error is not None
            self._pending -= 1
            self._changed.notify_all()

    def settle(self, check: Callable[[], None]) -> None:
        """Until nothing goes on any more, whatever became of it."""
        with self._changed:
            while self._pending:
                check()
                self._changed.wait(_CHECK_EVERY_S)

    def wait(self, below: int, check: Callable[[], None]) -> None:
        with self._changed:
            while True:
                check()
                if self._error:
                    raise self._error
                if self._pending < below:
                    return
                self._changed.wait(_CHECK_EVERY_S)
