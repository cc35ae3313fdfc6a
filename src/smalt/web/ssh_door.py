"""The way to the server of SSH (`ssh.py`), which is imported by the first client that comes."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from smalt.agent.visit import Visit
from smalt.arm.errors import ArmError
from smalt.arm.ports import Engine
from smalt.web.reaching import Reaching

_log = logging.getLogger("smalt.ssh")


class SshDoor:
    """`spawn` runs a coroutine in an event loop that has time for it. `folder` has the platform's secrets."""

    def __init__(self, engine: Engine, folder: Path, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._engine, self._folder, self._spawn = engine, folder, spawn
        self._reaching = Reaching()

    def line(self, task: str, allowed: Sequence[str]) -> socket.socket:
        """To a server of SSH in front of that task, which `allowed`, public keys, open. Reads a file."""
        from smalt.web.ssh import host_key, serve

        key = host_key(self._folder)
        ours, theirs = socket.socketpair()

        async def open_(visit: Visit) -> socket.socket:
            return await self._reaching.run(task, self._engine.visit, task, visit)

        @contextlib.asynccontextmanager
        async def reach(port: int) -> AsyncIterator[socket.socket]:
            with self._reaching.held(task):
                yield await self._reaching.run(task, self._engine.reach, task, port)

        async def attend() -> None:
            try:
                with self._reaching.held(task):
                    await serve(theirs, key, allowed, open_, reach)
            except ArmError as error:
                _log.info("a client of SSH was turned away: %s", error.message)
                theirs.close()

        try:
            self._spawn(attend())
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours
