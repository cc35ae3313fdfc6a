"""Scripts whose init() or run() is a coroutine function: all on one event loop, so what init() opened run() can use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any, Awaitable

LOOK_S = 0.25  # how late the end of a thread's time may be seen while a coroutine waits


class Coroutines:
    """The loop, in a thread of its own from the first coroutine on. The threads that score wait for theirs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def finish(self, awaitable: Awaitable[Any]) -> Any:
        """What it comes to. Raises what it raises; who is interrupted meanwhile cancels it."""
        future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._running())
        try:
            while True:
                try:
                    return future.result(LOOK_S)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
        except BaseException:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="coroutines", daemon=True).start()
            return self._loop


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
