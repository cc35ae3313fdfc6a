"""One node's open line: orders wait here until the event loop has sent them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

from smalt.engines.remote.messages import HEARTBEAT_S, SILENT_S, Order


class Session:
    """Made in the event loop that sends; `send` and `close` from any thread."""

    def __init__(self, node: str, incarnation: str, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.id = secrets.token_hex(8)
        self.node, self.incarnation = node, incarnation
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Queue[Order | None] = asyncio.Queue()
        self._heartbeat_s = heartbeat_s
        self._heard_at = time.monotonic()

    def heard(self) -> None:
        self._heard_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the node has said something lately: a cut line is not always seen."""
        return time.monotonic() - self._heard_at < SILENT_S

    def send(self, order: Order) -> None:
        self._put(order)

    def close(self) -> None:
        """The line ends once all before is sent."""
        self._put(None)

    def _put(self, order: Order | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._orders.put_nowait, order)
        except RuntimeError:  # the loop has ended, and the line with it
            return

    async def orders(self) -> AsyncIterator[Order]:
        """Until it is closed, or the node falls silent; an empty one where nothing else is to be said."""
        while self.alive:
            try:
                order = await asyncio.wait_for(self._orders.get(), self._heartbeat_s)
            except TimeoutError:
                order = {}
            if order is None:
                return
            yield order
