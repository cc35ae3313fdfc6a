"""One program of the platform, kept running: started, watched through a pidfd, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from smalt.cli.log_files import LogFile
from smalt.cli.watch import Health, watch

LEASH = Path(__file__).with_name("leash.py")
STABLE_S = 10.0  # a program that lived this long did not fail at its start
MAX_DELAY_S = 5.0

log = logging.getLogger(__name__)


class State(StrEnum):
    WAITING = "waiting"  # until it is needed
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Program:
    """What to run. `environment` is all that the process gets; `nice` is added to the supervisor's priority.

    `health`: when to replace it although it lives; `data_bytes`: the kernel gives it no more
    memory than that (0: any amount).
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    nice: int = 0
    on_demand: bool = False  # started when somebody needs it, and the platform answers; ends by itself with 0
    stops_last: bool = False  # the others' last answers go through it
    health: Health | None = None
    data_bytes: int = 0
    max_delay_s: float = MAX_DELAY_S  # before it is started again


def restart_delay_s(failures: int, most_s: float = MAX_DELAY_S) -> float:
    """`failures`: quick deaths in a row, this one included.

    At once after the first, then 0.25 s doubling to `most_s`.
    """
    return 0.0 if failures <= 1 else min(most_s, 0.25 * 2 ** min(failures - 2, 8))


class Kept:
    """A program and its process. All methods belong to the event loop of the process's main thread.

    The main thread because the kernel kills the process when the *thread* that started it ends.
    """

    def __init__(self, program: Program, log_file: LogFile, changed: Callable[[], None]) -> None:
        self.program = program
        self.log_file = log_file
        self.state = State.WAITING
        self.pid: int | None = None
        self.started_at = 0.0
        self.restarts = 0
        self.failures = 0  # quick deaths in a row
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def want(self) -> None:
        """Somebody needs it: started, if it waits for that."""
        if self.state is State.WAITING:
            self._restart()

    def start(self) -> None:
        self._timer = None
        self._ended.clear()
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(self.program.nice)]
        leash.append(str(self.program.data_bytes))
        output = self.log_file.open()
        try:
            self._process = subprocess.Popen(
                [*leash, *self.program.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.program.environment),
                start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to answer
            )
        finally:
            os.close(output)
        self.pid, self.started_at, self.state = self._process.pid, time.time(), State.RUNNING
        self._pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)
        log.info("%s started as process %d", self.program.name, self.pid)
        if self.program.health is not None:
            self._watching = asyncio.get_running_loop().create_task(watch(self.program.health, self.pid, self._replace))
        self._changed()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s`; returns when the process is gone."""
        if self._timer:
            self._timer.cancel()
        self._unwatch()
        running, self.state = self._process, State.STOPPED
        if running is None:
            self._changed()
            return
        running.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), grace_s)
        except TimeoutError:
            log.warning("%s did not stop within %g s: killed", self.program.name, grace_s)
            running.kill()
            await self._ended.wait()

    def _replace(self, why: str) -> None:
        """At once: what does not answer does not end when asked either."""
        if self._process is not None and self.state is State.RUNNING:
            log.warning("%s is replaced: %s", self.program.name, why)
            self._process.kill()

    def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _died(self) -> None:
        process = self._process
        assert process is not None
        self._unwatch()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = process.wait()
        self._process, self.pid = None, None
        self._ended.set()
        if self.program.on_demand and self.state is State.RUNNING and code == 0:
            self.state = State.WAITING
            log.info("%s ended, until it is needed again", self.program.name)
        elif self.state is not State.STOPPED:
            self._restart_later(code)
        self._changed()

    def _restart_later(self, code: int) -> None:
        self.failures = self.failures + 1 if time.time() - self.started_at < STABLE_S else 1
        self.restarts += 1
        self.state = State.RESTARTING
        delay_s = restart_delay_s(self.failures, self.program.max_delay_s)
        log.warning("%s ended (%s); again in %g s", self.program.name, ended(code), delay_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._restart)

    def _restart(self) -> None:
        try:
            self.start()
        except OSError:  # no memory, no descriptors, a full disk: it may pass
            log.exception("%s could not be started", self.program.name)
            self.failures += 1
            self.state = State.RESTARTING
            self._timer = asyncio.get_running_loop().call_later(
                restart_delay_s(self.failures, self.program.max_delay_s), self._restart
            )


def ended(code: int) -> str:
    """A return code of Popen in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
