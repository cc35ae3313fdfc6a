"""Whether a program of the platform still does its work: asked for an answer on its socket, and looked at for its memory.

One that lives but does not answer, or that takes the machine's memory, is worth less than a new one: all of them can be killed at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LOOK_EVERY_S = 1.0
_TRIES = 3  # a silence is at least so many questions without an answer


@dataclass(frozen=True)
class Health:
    """How to ask a program: `GET path` on the unix socket `socket`; any HTTP answer is one.

    Replaced when silent for `silent_s`, counted from its first answer, or when it gives none within `start_s`; and when it holds
    more than `memory_bytes` (0: any amount). `ask_every_s` is the pause between two questions.
    """

    socket: str
    path: str
    silent_s: float = 30.0
    start_s: float = 600.0  # the database is brought to a new schema meanwhile
    ask_every_s: float = 5.0
    memory_bytes: int = 0


def memory_limit(machine_bytes: int) -> int:
    """What one program may hold of a machine's memory: a quarter, at least 2 GiB, at most 8."""
    return min(max(machine_bytes // 4, 2 << 30), 8 << 30)


def machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


async def watch(health: Health, pid: int, replace: Callable[[str], None]) -> None:
    """Look at process `pid` until it has to be replaced: then `replace(why)` is called, once."""
    memory = asyncio.create_task(_too_large(health, pid))
    silence = asyncio.create_task(_too_silent(health))
    try:
        done, _ = await asyncio.wait({memory, silence}, return_when=asyncio.FIRST_COMPLETED)
        replace(done.pop().result())
    finally:
        memory.cancel()
        silence.cancel()


async def _too_large(health: Health, pid: int) -> str:
    while True:
        await asyncio.sleep(min(_LOOK_EVERY_S, health.ask_every_s))
        held = resident_bytes(pid)
        if 0 < health.memory_bytes < held:
            return f"it holds {held >> 20} MiB of memory, and {health.memory_bytes >> 20} are its limit"


async def _too_silent(health: Health) -> str:
    last, tries, ever = time.monotonic(), 0, False
    while True:
        if await _answers(health):
            last, tries, ever = time.monotonic(), 0, True
        else:
            tries += 1
            silent_s, limit_s = time.monotonic() - last, health.silent_s if ever else health.start_s
            if silent_s > limit_s and tries >= _TRIES:
                return f"it has not answered for {silent_s:.0f} s"
        await asyncio.sleep(health.ask_every_s)


async def _answers(health: Health) -> bool:
    try:
        async with asyncio.timeout(max(health.ask_every_s, health.silent_s / _TRIES)):
            reader, writer = await asyncio.open_unix_connection(health.socket)
            try:
                writer.write(f"GET {health.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError):
        return False


def resident_bytes(pid: int) -> int:
    """What a process holds in memory of its own, without the files that it maps; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    sizes = {
        name: value for name, _, value in (line.partition(":") for line in lines) if name in ("RssAnon", "RssShmem")
    }
    return sum(int(value.split()[0]) for value in sizes.values()) * 1024
