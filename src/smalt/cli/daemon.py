"""The supervisor as a process: of this terminal, or in the background, which `smalt up --detach` leaves running.

In the background it is told what to run as JSON on standard input, so it imports neither web framework nor database and
stays small; it says `ready` or what went wrong on a pipe, on which `smalt up` waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from smalt.agent import linux
from smalt.cli import port_holder
from smalt.cli.log_files import LogFile
from smalt.cli.probe import Probe
from smalt.cli.program import Program
from smalt.cli.root import CliError, Lock
from smalt.cli.supervisor import GRACE_S, READY_TIMEOUT_S, StartFailed, Supervisor, View
from smalt.cli.watch import Health
from smalt.making import making
from smalt.settings import Settings

READY = "ready"
PATIENCE_S = READY_TIMEOUT_S + 2 * GRACE_S + 5  # it gives up by itself, and then stops what it started

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What to supervise, and for which platform."""

    settings: Settings
    programs: Sequence[Program]
    version: str

    def write(self) -> str:
        document = {"settings": asdict(self.settings), "programs": [asdict(one) for one in self.programs]}
        return json.dumps({**document, "version": self.version}, default=str)

    @staticmethod
    def read(text: str) -> Order:
        document = json.loads(text)
        settings = {**document["settings"], "root": Path(document["settings"]["root"])}
        programs = [Program(**{**one, "health": _health(one["health"])}) for one in document["programs"]]
        return Order(Settings(**settings), programs, document["version"])


def _health(document: dict[str, Any] | None) -> Health | None:
    return Health(**document) if document else None


def supervise(order: Order, lock: Lock, changed: Callable[[View], None]) -> None:
    """Run the platform until it is told to stop. Raises StartFailed. Only from the main thread."""
    lock.claim()
    os.umask(0o077)  # noqa: TID251
    _log_to(order.settings.logs / "supervisor.log")
    settings = order.settings

    async def run() -> None:
        supervisor = Supervisor(
            order.programs,
            settings.run / "supervisor.json",
            settings.logs,
            Probe(settings).answers,
            changed,
            url=settings.url,
            version=order.version,
            needs=settings.needs_socket,
        )
        await supervisor.run()

    try:
        asyncio.run(run())
    except StartFailed as error:
        log.error("the platform did not come up: %s", error)
        raise
    finally:
        port_holder.dismiss(settings.run)


def start_detached(
    settings: Settings,
    order: Callable[[], Order],
    lock: Lock,
    environment: Mapping[str, str],
    make: Callable[[], None],
    meanwhile: Callable[[], None],
) -> None:
    """Leave a supervisor with this environment behind; returns when the platform is ready.

    `order` makes what it is told, while it starts; `make` makes the files that the programs wait for, and `meanwhile`
    is called behind it: both while they start. Raises what these raise, and CliError with the log's end.
    """
    reader, writer = os.pipe()
    with making(settings.run):
        process = _started(settings, lock, writer, environment)
        try:
            assert process.stdin is not None
            told = order().write()
            with contextlib.suppress(BrokenPipeError), process.stdin:  # it died already: the answer tells
                process.stdin.write(told)
            make()
        except BaseException:
            _give_up(process, reader)
            raise
    try:
        meanwhile()
    except BaseException:
        _give_up(process, reader)
        raise
    answer = _answer(reader)
    if answer != READY:
        _end(process)
        tail = LogFile(settings.logs / "supervisor.log").tail()
        raise CliError(f"the platform did not come up: {answer or tail or 'the supervisor ended'}")
    process.returncode = 0  # it goes on without us: not a child to wait for


def _started(settings: Settings, lock: Lock, writer: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """The supervisor, which has the lock and the pipe's end; both stay open in it alone."""
    output = LogFile(settings.logs / "supervisor.log").open()
    os.set_inheritable(lock.descriptor, True)
    command = [sys.executable, "-P", "-m", "smalt.cli.daemon", str(lock.descriptor), str(writer)]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(lock.descriptor, writer),
            start_new_session=True,
            env=dict(environment),
            cwd=settings.root,
            umask=0o077,
            text=True,
        )
    finally:
        for descriptor in (writer, output):
            os.close(descriptor)


def _give_up(process: subprocess.Popen[str], reader: int) -> None:
    """It stops what it has started, which waits for files that will not come."""
    process.terminate()
    _end(process)
    os.close(reader)


def _end(process: subprocess.Popen[str]) -> None:
    """It has stopped its programs, or hangs; when this returns, the root is free."""
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answer(reader: int) -> str:
    """What the supervisor says on its pipe; empty if it ends without a word, or says nothing in time."""
    said = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while linux.readable(pipe.fileno(), PATIENCE_S) and (piece := pipe.read(65_536)):
            said += piece
    return said.decode(errors="replace")


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=5 * 1024 * 1024, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def main(lock: Lock, writer: int) -> None:
    for descriptor in (lock.descriptor, writer):
        os.set_inheritable(descriptor, False)
    text = sys.stdin.read()
    if not text:  # who started this was killed before it said what to run
        return
    order = Order.read(text)
    told = os.fdopen(writer, "w")

    def changed(view: View) -> None:
        if view.ready and not told.closed:
            with contextlib.suppress(BrokenPipeError), told:
                told.write(READY)

    try:
        supervise(order, lock, changed)
    except StartFailed as error:
        with told:
            told.write(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main(Lock(int(sys.argv[1])), int(sys.argv[2]))
