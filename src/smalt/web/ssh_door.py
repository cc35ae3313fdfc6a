"""The way to the server of SSH (`ssh.py`), which is imported by the first client that comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from smalt.agent.visit import Visit
from smalt.arm.ports import Engine


class SshDoor:
    """`spawn` runs a coroutine in an event loop that has time for it. `folder` has the platform's secrets."""

    def __init__(self, engine: Engine, folder: Path, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._engine, self._folder, self._spawn = engine, folder, spawn

    def line(self, task: str, allowed: Sequence[str]) -> socket.socket:
        """To a server of SSH in front of that task, which `allowed`, public keys, open. Reads a file."""
        from smalt.web.ssh import host_key, serve

        key = host_key(self._folder)
        ours, theirs = socket.socketpair()

        async def open_(visit: Visit) -> socket.socket:
            return await asyncio.to_thread(self._engine.visit, task, visit)

        async def reach(port: int) -> socket.socket:
            return await asyncio.to_thread(self._engine.reach, task, port)

        try:
            self._spawn(serve(theirs, key, allowed, open_, reach))
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours
