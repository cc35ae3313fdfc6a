"""Starts the platform's programs, restarts what dies, and stops them all: the process that `smalt up` becomes.

It knows nothing of what it runs but a command and a readiness check. What it knows is in `supervisor.json` (the run
folder), written on each change, for `smalt status` and `smalt down`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smalt.agent.whole_file import write_whole
from smalt.cli.log_files import LogFile
from smalt.cli.program import Kept, Program
from smalt.unix_socket import listen_for_words, words

GRACE_S = 10.0
READY_TIMEOUT_S = 30.0
PROBE_PAUSE_S = 0.02
TRIM_EVERY_S = 15.0
HOPELESS = 3  # deaths of one program before the platform was ever ready

log = logging.getLogger(__name__)


class StartFailed(Exception):
    """The platform did not come up; says which program and the end of its log."""


@dataclass(frozen=True)
class ProcessView:
    name: str
    pid: int | None
    started_at: float
    restarts: int
    state: str


@dataclass(frozen=True)
class View:
    """What the supervisor tells the outside. `pid` is its own; times are seconds since the epoch."""

    pid: int
    started_at: float
    url: str
    version: str
    ready: bool
    processes: Sequence[ProcessView]


class Supervisor:
    """`answers` tells whether the platform as a whole answers; `changed` is called with each new view.

    `needs` is a socket: who needs a program that is started on demand says its name there.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        state_file: Path,
        logs: Path,
        answers: Callable[[], Awaitable[bool]],
        changed: Callable[[View], None] = lambda view: None,
        url: str = "",
        version: str = "",
        needs: Path | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._kept = [Kept(one, LogFile(logs / f"{one.name}.log"), self._note) for one in programs]
        self._state_file = state_file
        self._logs = logs
        self._answers = answers
        self._changed = changed
        self._url, self._version = url, version
        self._ready_timeout_s, self._grace_s = ready_timeout_s, grace_s
        self._started_at = time.time()
        self._needs = needs
        self._needed: set[str] = set()  # while the platform does not answer yet
        self._ready = False
        self._stop = asyncio.Event()
        self._hopeless = asyncio.Event()

    async def run(self) -> None:
        """Until a signal to stop; then everything is stopped. Raises StartFailed. Must run in the main thread."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        trimming = loop.create_task(self._trim_logs())
        try:
            if self._needs is not None:
                channel = listen_for_words(self._needs)
                loop.add_reader(channel, self._hear, channel)
            await self._start()
            if self._ready:
                await self._stop.wait()
        finally:
            trimming.cancel()
            await self._stop_all()
            self._state_file.unlink(missing_ok=True)

    def view(self) -> View:
        return View(
            pid=os.getpid(),
            started_at=self._started_at,
            url=self._url,
            version=self._version,
            ready=self._ready,
            processes=[
                ProcessView(one.program.name, one.pid, one.started_at, one.restarts, str(one.state))
                for one in self._kept
            ],
        )

    async def _start(self) -> None:
        """Returns when the platform is ready, or when it was told to stop."""
        for one in self._kept:
            one.log_file.begin()
        for one in self._kept:
            if not one.program.on_demand:
                one.start()
        events = {asyncio.create_task(event.wait()) for event in (self._stop, self._hopeless)}
        probe = asyncio.create_task(self._probe())
        done, pending = await asyncio.wait(
            {probe, *events}, timeout=self._ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
            task.cancel()
        if self._stop.is_set():
            return
        if probe not in done:
            raise StartFailed(self._why())
        self._ready = True
        log.info("ready at %s after %.1f s", self._url, time.time() - self._started_at)
        self._note()
        self._start_needed()

    def _hear(self, channel: socket.socket) -> None:
        self._needed.update(words(channel))
        if self._ready and not self._stop.is_set():
            self._start_needed()

    def _start_needed(self) -> None:
        for one in self._kept:
            if one.program.name in self._needed and one.program.on_demand:
                one.want()
        self._needed.clear()

    async def _probe(self) -> None:
        while not await self._answers():
            await asyncio.sleep(PROBE_PAUSE_S)

    def _why(self) -> str:
        fragile = max(self._kept, key=lambda one: one.restarts)
        if fragile.restarts == 0:
            silent = next((one for one in self._kept if not one.program.on_demand), fragile)
            return f"the platform did not answer within {self._ready_timeout_s:g} s\n{silent.log_file.tail()}".rstrip()
        return f"{fragile.program.name} ends as soon as it is started:\n{fragile.log_file.tail()}".rstrip()

    async def _stop_all(self) -> None:
        """Those that others' last answers go through come last."""
        for last in (False, True):
            these = [one for one in self._kept if one.program.stops_last is last]
            await asyncio.gather(*(one.stop(self._grace_s) for one in these))

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            for path in self._logs.glob("*.log"):  # also those that a program opens itself, to append: the access log
                with contextlib.suppress(OSError):  # a full disk: tried again next time
                    LogFile(path).trim()

    def _note(self) -> None:
        if not self._ready and any(one.restarts >= HOPELESS for one in self._kept):
            self._hopeless.set()
        view = self.view()
        try:
            write_whole(self._state_file, json.dumps(asdict(view)), sync=True)
        except OSError:  # a full disk must not take the platform down
            log.exception("%s was not written", self._state_file)
        self._changed(view)


def read_view(state_file: Path) -> View | None:
    """What the supervisor last wrote; None where there is nothing (yet)."""
    try:
        document = json.loads(state_file.read_text())
        processes = [ProcessView(**one) for one in document.pop("processes")]
        return View(processes=processes, **document)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
