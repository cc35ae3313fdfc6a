"""Starts the process that parses, and reads for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from smalt.studio.tables.reading import Wanted

READ_MOST = 96 << 20  # bytes of one file
TIME_MOST_S = 25.0
AT_ONCE = 2  # such processes
_LINE_MOST = 64 << 20  # of what they say
_ENDED = "the process that reads it was ended: it took too much time or memory"
_turns = asyncio.Semaphore(AT_ONCE)

Reads = Callable[[int, int], Awaitable[bytes]]


class NoTable(Exception):
    """Why there is none: for people."""


async def table(wanted: Wanted, reads: Reads) -> dict[str, Any]:
    """As `profile.described`. Raises NoTable, and what `reads` raises."""
    async with _turns:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "smalt.studio.tables",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_MOST,
            env=_environment(),
            cwd="/",
        )
        try:
            async with asyncio.timeout(TIME_MOST_S):
                return await _talk(process, wanted, reads)
        except TimeoutError:
            raise NoTable("it takes longer to read than a preview may") from None
        except (BrokenPipeError, ConnectionResetError):
            raise NoTable(_ENDED) from None
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _talk(process: asyncio.subprocess.Process, wanted: Wanted, reads: Reads) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asdict(wanted)).encode() + b"\n")
    taken = 0
    while said := await _said(process.stdout):
        if "table" in said:
            return said["table"]
        if "error" in said:
            raise NoTable(said["error"])
        start, length = said["read"]
        if length < 0:
            raise NoTable(_ENDED)
        taken += length
        if taken > READ_MOST:
            raise NoTable(f"more than {READ_MOST >> 20} MiB of it would have to be read for its first rows")
        data = await reads(start, length)
        process.stdin.write(b"%d\n" % len(data) + data)
        await process.stdin.drain()
    raise NoTable(_ENDED)


async def _said(stdout: asyncio.StreamReader) -> dict[str, Any]:
    """Its next line; empty at its end. Raises NoTable for one that is too long, or none of its own."""
    try:
        line = await stdout.readline()
        return json.loads(line) if line else {}
    except ValueError:
        raise NoTable("more would have to be said of it than a page has") from None


def _environment() -> dict[str, str]:
    """Nothing of this server's."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
