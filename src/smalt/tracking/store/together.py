"""Calls that are made together: those that come while one is under way wait, and are the next one.

So whoever asks alone is answered at once, and a hundred who ask at the same time share a thread and a transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from smalt.arm.threads import Threads

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Together(Generic[Asked, Found]):
    """`call` answers each of what it is given, in order, all or none; `size` says how much of `most` each one takes.

    Used on one event loop.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Asked]], Sequence[Found]],
        threads: Threads,
        most: int,
        size: Callable[[Asked], int] = lambda one: 1,
    ) -> None:
        self._call, self._threads, self._most, self._size = call, threads, most, size
        self._waiting: deque[tuple[Asked, asyncio.Future[Found]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Found:
        """Raises what `call` raises of this one, when it is made with it alone."""
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._running = None

    async def _answer(self, taken: Sequence[tuple[Asked, asyncio.Future[Found]]]) -> None:
        try:
            found = await self._threads.run(self._answers, [asked for asked, _ in taken])
        except BaseException:  # the server ends
            for _, future in taken:
                future.cancel()
            raise
        for (_, future), one in zip(taken, found, strict=True):
            if future.done():  # whoever waited has gone
                continue
            if isinstance(one, Exception):
                future.set_exception(one)
            else:
                future.set_result(one)

    def _take(self) -> list[tuple[Asked, asyncio.Future[Found]]]:
        taken, room = [self._waiting.popleft()], self._most
        room -= self._size(taken[0][0])
        while self._waiting and self._size(self._waiting[0][0]) <= room:
            taken.append(self._waiting.popleft())
            room -= self._size(taken[-1][0])
        return taken

    def _answers(self, asked: Sequence[Asked]) -> Sequence[Found | Exception]:
        try:
            return self._call(asked)
        except Exception as error:
            if len(asked) == 1:
                return [error]
        return [one for alone in asked for one in self._answers([alone])]
