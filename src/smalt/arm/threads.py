"""Threads for one kind of work: what waits in one (MLflow's database is locked for seconds) does not take those of another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")


class Threads:
    """At most `most` calls at once; further ones wait for their turn."""

    def __init__(self, most: int) -> None:
        self._limiter = anyio.CapacityLimiter(most)

    async def run(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """`call(*args, **kwargs)` in a thread."""
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)
