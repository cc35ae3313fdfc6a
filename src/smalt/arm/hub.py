"""Who wants to know about a change, inside this process: long polls, readers of the feed, and the control loop.

It is fed by what transactions change: this process's own when they have committed, and other servers' as PostgreSQL
tells of them. A notification is only a hint: whoever gets one reads the database again. Missing one costs time, never
correctness.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from smalt.arm.reach import covers
from smalt.store.news import EVERYTHING, Hint


class Hub:
    """Thread-safe. `notify` may be called from anywhere; `changed` is awaited in an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Subscription]] = {}  # by key, of subscriptions to one resource
        self._watching: set[Subscription] = set()  # those to all below a resource
        self._listeners: list[Callable[[], None]] = []
        self._followers: list[Callable[[str], None]] = []
        self.closing = False

    def listen(self, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something to do, from the notifying thread; it must not block."""
        self._listeners.append(wake)

    def follow(self, changed: Callable[[str], None]) -> None:
        """`changed` is called with the key of each notification, from the notifying thread; it must not block."""
        self._followers.append(changed)

    def notify(self, key: str) -> None:
        """Something about `key` changed, and there is something to do."""
        self.told(Hint(key, due=True))

    def told(self, hint: Hint) -> None:
        """As a transaction, or another server, tells it."""
        for changed in self._followers:
            changed(hint.key)
        with self._lock:
            woken = self._concerned(hint.key)
        for one in woken:
            one.wake()
        if hint.due:
            for wake in self._listeners:
                wake()

    def _concerned(self, key: str) -> list[Subscription]:
        if key == EVERYTHING:
            return [*self._watching, *(one for some in self._waiting.values() for one in some)]
        watching = [one for one in self._watching if covers(one.key, key)] if self._watching else []
        return [*self._waiting.get(key, ()), *watching]

    def subscribe(self, key: str, below: bool = False) -> Subscription:
        """To one resource; `below`: and to all that is in it."""
        return Subscription(self, key, below)

    def close(self) -> None:
        """The server ends: who waits is woken, and is to look at `closing`."""
        self.closing = True
        with self._lock:
            woken = self._concerned(EVERYTHING)
        for one in woken:
            one.wake()

    def add(self, one: Subscription) -> None:
        with self._lock:
            (self._watching if one.below else self._waiting.setdefault(one.key, set())).add(one)

    def discard(self, one: Subscription) -> None:
        with self._lock:
            if one.below:
                self._watching.discard(one)
                return
            self._waiting[one.key].discard(one)
            if not self._waiting[one.key]:
                del self._waiting[one.key]


class Subscription:
    """Subscribe first, read the state, then wait: no change can slip between."""

    def __init__(self, hub: Hub, key: str, below: bool = False) -> None:
        self.key, self.below = key, below
        self._hub = hub
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    def __enter__(self) -> Subscription:
        self._hub.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.discard(self)

    def wake(self) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop has ended, and nobody waits there any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next notification; False when the time was over first."""
        try:
            async with asyncio.timeout(timeout_s):  # `wait_for` may lose a cancellation
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
