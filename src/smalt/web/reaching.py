"""What the agent of a job is asked while a visitor waits: it may be slow to answer, or hang.

So these calls have threads of their own, few for each task: who comes to another task waits for none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

from smalt.arm.errors import ArmError
from smalt.arm.threads import Threads

_MOST, _MOST_OF_TASK = 64, 4  # calls at once
_MOST_LINES = 1024  # connections that are held: each has two descriptors
_TURN_S = 10.0


class Reaching:
    """Of one event loop."""

    def __init__(self, turn_s: float = _TURN_S) -> None:
        self._threads, self._turn_s = Threads(_MOST), turn_s
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._lines: Counter[str] = Counter()
        self._most = min(_MOST_LINES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)

    async def run(self, task: str, call: Callable[..., socket.socket], *arguments: Any) -> socket.socket:
        """`call(*arguments)` in a thread. Raises ArmError(503) where too many wait for that task."""
        turn = self._turns.setdefault(task, asyncio.Semaphore(_MOST_OF_TASK))
        try:
            async with asyncio.timeout(self._turn_s):
                await turn.acquire()
        except TimeoutError:
            raise _busy("The job takes no connections at the moment: its agent or its program hangs.") from None
        asked = asyncio.ensure_future(self._call(turn, call, *arguments))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(_close)  # who asked has gone; the thread is taken until it has its answer
            raise

    async def _call(
        self, turn: asyncio.Semaphore, call: Callable[..., socket.socket], *arguments: Any
    ) -> socket.socket:
        try:
            return await self._threads.run(call, *arguments)
        finally:
            turn.release()

    @contextlib.contextmanager
    def held(self, task: str) -> Iterator[None]:
        """While a connection to that task is there. Raises ArmError(503) where there are too many."""
        if self._lines[task] >= self._most // 2:
            raise _busy(f"The job has {self._lines[task]} connections already: close some.")
        if self._lines.total() >= self._most:
            raise _busy(f"The services of all jobs have {self._most} connections already.")
        self._lines[task] += 1
        try:
            yield
        finally:
            self._lines[task] -= 1
            if not self._lines[task]:
                del self._lines[task]


def _busy(message: str) -> ArmError:
    return ArmError(503, "ServiceUnavailable", message, headers={"Retry-After": "1"})


def _close(asked: asyncio.Future[socket.socket]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.result().close()
