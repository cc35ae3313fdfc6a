"""A node's worker processes: one for each slot, replaced when it dies, killed when a mini-batch takes too long.

A slot pulls the next mini-batch when its worker has room. Where mini-batches are short the worker has a second one
with it, so that it never waits for the driver; where they are not, everything that waits is with the coordinator.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import Any

from . import frames
from .coordinator import Given
from .ledger import Record
from .meeting import Link
from .reports import NodeLogs
from .settings import Settings

_SHORT_S = 0.25  # of a mini-batch
_LEAVE_S = 30.0  # for a worker's `shutdown`, at least
_HUNG_UP_S = 5.0  # for a worker's end when it does not speak to us any more
_FAILURES = 3  # of `init` in a slot, without one success between them: then it gives up
START = Path(__file__).with_name("start.py")


class Slots:
    """`config`: the file of the settings, which workers read too."""

    def __init__(self, settings: Settings, config: str, link: Link, logs: NodeLogs) -> None:
        self.settings, self.config, self.link, self.logs = settings, config, link, logs
        self._slots = [_Slot(self, at) for at in range(settings.slots)]
        self._number, self._without = 0, 0

    async def run(self) -> str:
        """Until all is over: why no more is to be done, or empty. Raises what the link raises, and what a slot does."""
        running = [asyncio.ensure_future(one.run()) for one in self._slots]
        over = asyncio.ensure_future(self.link.over())
        try:
            while not over.done():
                left = [one for one in running if not one.done()]
                done, _ = await asyncio.wait({over, *left}, return_when=asyncio.FIRST_COMPLETED)
                for one in done - {over}:
                    one.result()
            problem = over.result()
            for one in self._slots:
                one.finish(at_once=bool(problem))
            done, _ = await asyncio.wait(running)
            for one in done:
                one.result()
            return problem
        finally:
            self.kill()
            for one in (*running, over):
                one.cancel()

    def kill(self) -> None:
        """All workers, with what they have started."""
        for one in self._slots:
            one.finish(at_once=True)

    def name(self) -> str:
        """Of the next worker process."""
        self._number += 1
        return f"process{self._number - 1:03}"

    def gave_up(self, why: str) -> None:
        """One of the slots."""
        self._without += 1
        if self._without == len(self._slots):
            self.link.stuck(why)


class _Slot:
    """`_held`: what its worker has, or gets as soon as it is ready. `_room`: for how many more it has room."""

    def __init__(self, node: Slots, at: int) -> None:
        self._node, self._at = node, at
        self._held: deque[Given] = deque()
        self._worker: _Worker | None = None
        self._room, self._depth = asyncio.Semaphore(1), 1
        self._feeding: asyncio.Future[None] | None = None
        self._ready, self._closing, self._failures = False, False, 0

    async def run(self) -> None:
        while not self._closing and self._failures < _FAILURES:
            worker = self._worker = await _Worker.start(self._node, self._at)
            try:
                if await self._is_ready(worker):
                    await self._attend(worker)
            finally:
                worker.kill("")
                await worker.gone()
        if self._feeding is not None:
            self._feeding.cancel()
        while self._held:
            self._node.link.back(self._held.pop().number)

    def finish(self, at_once: bool) -> None:
        """Nothing more is to be done. A worker that is ready may shut down, unless it is to end at once."""
        self._closing = True
        if self._worker is not None and (at_once or not self._ready):
            self._worker.kill("")

    async def _is_ready(self, worker: _Worker) -> bool:
        settings = self._node.settings
        worker.watch(settings.ready_s, f"it was not ready within {settings.ready_s:g} s")
        try:
            message, _ = await worker.read()
        except frames.Closed:
            message = {"broken": await worker.end()}
        worker.watch(0)
        if "ready" in message:
            self._failures = 0
            return True
        if not self._closing:
            self._say(worker, message["broken"], message.get("trace") or message["broken"])
            self._failures += 1
            if self._failures == _FAILURES:
                self._node.gave_up(message["broken"])
        return False

    async def _feed(self) -> None:
        """Give the worker what it has room for, until there is no more."""
        while True:
            await self._room.acquire()
            given = await self._node.link.pull()
            if given is None:
                break
            self._held.append(given)
            if self._ready and self._worker is not None:
                self._worker.send(given)
        self._closing = True
        if self._ready and self._worker is not None:
            self._worker.close()

    async def _attend(self, worker: _Worker) -> None:
        """Give it what there is and hear what it says, until it is gone."""
        self._ready = True
        for given in self._held:
            worker.send(given)
        if self._feeding is None:
            self._feeding = asyncio.ensure_future(self._feed())
        if self._closing:
            worker.close()
        while True:
            try:
                message, payload = await worker.read()
            except frames.Closed:
                break
            if "begun" in message:
                worker.begin()
            else:
                self._answered(worker, message, payload)
        self._ready = False
        if not self._closing:  # else it is in its `shutdown`, and watched
            worker.watch(_HUNG_UP_S, "the worker process closed its connection, and did not end")
        how = await worker.end()
        if self._held and worker.killed != "":
            given = self._held.popleft()
            record = Record(given.number, int(given.batch.get("items") or 0), error=how, tries=given.tried + 1)
            self._say(worker, f"mini-batch {given.number}: {how}", how)
            self._node.link.failed(record)
            self._make_room(None)
            while self._held:
                self._node.link.back(self._held.pop().number)
                self._room.release()

    def _answered(self, worker: _Worker, message: dict[str, Any], payload: bytes) -> None:
        given, link = self._held.popleft(), self._node.link
        items, seconds, tries = int(message["items"]), float(message["seconds"]), given.tried + 1
        where = f"node-{self._node.settings.rank}/{worker.name}"
        worker.answered(bool(self._held))
        if "failed" in message:
            error = str(message["failed"])
            self._say(worker, f"mini-batch {given.number}: {error}", message["trace"])
            link.failed(Record(given.number, items, items, seconds, tries, error, where))
        else:
            record = Record(given.number, items, int(message["done"]), seconds, tries, worker=where)
            link.done(record, payload, str(message.get("header") or "").encode(errors="surrogateescape"))
        self._make_room(seconds)

    def _make_room(self, seconds: float | None) -> None:
        """For the next; `seconds`: what the last one took, None: it did not come to an end."""
        wanted = 2 if seconds is not None and seconds < _SHORT_S else 1
        for _ in range(1 + wanted - self._depth):
            self._room.release()
        self._depth = wanted

    def _say(self, worker: _Worker, error: str, trace: str) -> None:
        self._node.logs.error(worker.name, trace)
        self._node.link.say(f"node-{self._node.settings.rank}/{worker.name}", error, trace)


class _Worker:
    """One process. `killed`: why we ended it, empty where nothing is wrong with that; None: we did not."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.name, self._settings, self._process = name, settings, process
        self._reader, self._writer = streams
        self.killed: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False

    @classmethod
    async def start(cls, node: Slots, at: int) -> _Worker:
        """Raises OSError."""
        name = node.name()
        ours, theirs = socket.socketpair()
        stdout, stderr = node.logs.streams(name)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(START),
                "work",
                str(theirs.fileno()),
                node.config,
                name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=_environment(at),
            )
        finally:
            theirs.close()
            stdout.close()
            stderr.close()
        return cls(node.settings, name, process, await asyncio.open_connection(sock=ours, limit=1 << 22))

    def read(self) -> Any:
        """Raises Closed."""
        return frames.read(self._reader)

    def send(self, given: Given) -> None:
        self._writer.write(frames.pack({"number": given.number, "batch": given.batch}))
        if not self._busy:
            self._busy = True
            self._expect()

    def answered(self, more: bool) -> None:
        """It has come to the end of a mini-batch, and goes on with the next if it has more."""
        self._busy = more
        if more:
            self._expect()
        else:
            self.watch(0)

    def begin(self) -> None:
        """It has read what the mini-batch is, and runs it now."""
        limit = self._settings.timeout_s
        self.watch(limit, f"run() took longer than {limit:g} s (retry_settings.timeout)")

    def close(self) -> None:
        """There is no more to do: `shutdown`, and the end."""
        limit = max(self._settings.timeout_s, _LEAVE_S)
        self.watch(limit, "")
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def watch(self, seconds: float, why: str = "") -> None:
        """Kill it in so many seconds, unless told otherwise before; 0: leave it alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.kill, why)

    def kill(self, why: str) -> None:
        """With what it has started."""
        if self._process.returncode is None and self.killed is None:
            self.killed = why
        _end(self._process.pid)

    async def end(self) -> str:
        """How it ended."""
        status = await self._process.wait()
        if self.killed:
            return self.killed
        return f"the worker process ended with {_words(status)}"

    async def gone(self) -> None:
        self.watch(0)
        await self._process.wait()
        self._writer.close()

    def _expect(self) -> None:
        settings = self._settings
        if settings.table is not None and settings.table.get("reader") is not None:
            self.watch(settings.overhead_s, f"its data was not read within {settings.overhead_s:g} s")
        else:
            self.begin()


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _environment(at: int) -> dict[str, str]:
    """Each worker has a GPU to itself, as long as there are any."""
    gpus = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if not gpus:
        return dict(os.environ)
    return {**os.environ, "CUDA_VISIBLE_DEVICES": gpus[at] if at < len(gpus) else ""}
