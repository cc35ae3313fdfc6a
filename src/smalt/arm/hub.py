"""Who wants to know about a change, inside this process: long polls of operations, and the control loop.

A notification is only a hint: whoever gets one reads the database again. Missing one costs time, never correctness.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable


class Hub:
    """Thread-safe. `notify` may be called from anywhere; `changed` is awaited in an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)
        self._listeners: list[Callable[[], None]] = []
        self._followers: list[Callable[[str], None]] = []

    def listen(self, wake: Callable[[], None]) -> None:
        """`wake` is called at every notification, from the notifying thread; it must not block."""
        self._listeners.append(wake)

    def follow(self, changed: Callable[[str], None]) -> None:
        """`changed` is called with the key of each notification, from the notifying thread; it must not block."""
        self._followers.append(changed)

    def notify(self, key: str) -> None:
        for changed in self._followers:
            changed(key)
        with self._lock:
            waiting = list(self._waiting.get(key, ()))
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        for wake in self._listeners:
            wake()

    def subscribe(self, key: str) -> Subscription:
        return Subscription(self, key)

    def _add(self, key: str, entry: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting[key].add(entry)

    def _discard(self, key: str, entry: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting[key].discard(entry)
            if not self._waiting[key]:
                del self._waiting[key]


class Subscription:
    """Subscribe first, read the state, then wait: no change can slip between."""

    def __init__(self, hub: Hub, key: str) -> None:
        self._hub, self._key = hub, key
        self._entry = (asyncio.get_running_loop(), asyncio.Event())

    def __enter__(self) -> Subscription:
        self._hub._add(self._key, self._entry)  # pyright: ignore[reportPrivateUsage]
        return self

    def __exit__(self, *_: object) -> None:
        self._hub._discard(self._key, self._entry)  # pyright: ignore[reportPrivateUsage]

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next notification; False when the time was over first."""
        event = self._entry[1]
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        event.clear()
        return True
