"""Whether anybody still needs a server: an ASGI app around its own, which knows when something was last asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/health"  # the supervisor's question, which keeps nothing running


class IdleWatch:
    """`idle_s`: so long nothing is asked, and nothing under way, before the server is idle; 0 for never."""

    def __init__(self, app: ASGIApp, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._idle_s, self._clock = app, idle_s, clock
        self._last_at = clock()
        self.busy = 0  # requests under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        self.busy += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.busy -= 1
            self._last_at = self._clock()

    async def idle(self) -> None:
        """Returns when nothing has been asked for that long."""
        if not self._idle_s:
            await asyncio.Event().wait()
        while self.busy or self._clock() < self._last_at + self._idle_s:
            left_s = self._last_at + self._idle_s - self._clock()
            await asyncio.sleep(max(left_s, 1.0))
