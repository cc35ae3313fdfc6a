"""What runs on each node: `start.py run CONFIG`; and what it starts for each slot: `start.py work FD CONFIG NAME`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from . import worker
from .coordinator import Coordinator
from .ledger import Ledger
from .meeting import Away, Desk, Link, Lost, Reception
from .reports import JobLogs, NodeLogs
from .settings import Settings
from .slots import Slots
from .splitting import NothingToDo, mark, split

LEDGER = "azureml/mini_batches"  # below the job's logs
EXIT_LOST = 75  # as EX_TEMPFAIL: the first node is gone, and nothing is wrong with this one
_LOOK_S = 0.5
_OTHERS_LEAVE_S = 60.0


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "work":
        worker.main(socket.socket(fileno=int(rest[0])), Settings.read(rest[1]), rest[2])
        return
    try:
        settings = Settings.read(rest[0])
    except (OSError, ValueError) as error:
        _leave(f"The settings of this parallel job cannot be read: {error}")
    problem = _first(settings, rest[0]) if settings.rank == 0 else asyncio.run(_other(settings, rest[0]))
    if problem:
        _leave(problem)


def _leave(problem: str) -> NoReturn:
    """The last line of the log is what the job's error shows."""
    sys.stdout.flush()
    print(problem, file=sys.stderr, flush=True)
    sys.exit(1)


def _first(settings: Settings, config: str) -> str:
    """The first node: all that there is to do is known here. Why the job fails, or empty."""
    logs = JobLogs(Path(settings.logs))
    began = time.monotonic()
    try:
        batches = split(settings)
    except NothingToDo as error:
        return str(error)
    ledger = Ledger(Path(settings.logs, LEDGER), mark(batches))
    coordinator = Coordinator(settings, batches, ledger)
    print(
        f"{len(batches)} mini-batches, {time.monotonic() - began:.1f} s to split the input;"
        f" {settings.nodes} node(s) with {settings.slots} worker process(es) each",
        flush=True,
    )
    logs.progress(coordinator, at_once=True)
    problem = asyncio.run(_lead(settings, config, coordinator, logs))
    try:
        logs.progress(coordinator, at_once=True)
        if settings.append_to:
            _write_rows(ledger, Path(settings.append_to))
        logs.result(coordinator, ledger)
    except OSError as error:
        problem = problem or f"The results of this parallel job cannot be written: {error}"
    with contextlib.suppress(OSError):  # all that counts has been flushed
        ledger.close()
    return problem


async def _lead(settings: Settings, config: str, coordinator: Coordinator, logs: JobLogs) -> str:
    desk = Desk(coordinator, logs.error)
    reception = Reception(desk, settings.secret, settings.nodes - 1)
    if settings.nodes > 1:
        await reception.open(settings.meet)
    looking = asyncio.ensure_future(_look(desk, logs))
    try:
        if not coordinator.is_over:
            try:
                await _work(settings, config, desk.link("node-0"))
            except OSError as error:
                desk.give_up(_cannot(error))
        if settings.nodes > 1:
            await reception.close(_OTHERS_LEAVE_S)
    finally:
        looking.cancel()
    return coordinator.problem


async def _look(desk: Desk, logs: JobLogs) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        desk.coordinator.idle(time.monotonic())
        desk.look()
        try:
            logs.progress(desk.coordinator)
        except OSError as error:
            desk.give_up(_cannot(error))


async def _other(settings: Settings, config: str) -> str:
    link = Away(settings.rank, settings.meet, settings.secret)
    await link.connect()
    try:
        await _work(settings, config, link)
    except Lost as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(EXIT_LOST)
    except OSError as error:
        return _cannot(error)
    finally:
        await link.close()
    return ""  # how the job ends the first node says


def _cannot(error: OSError) -> str:
    return f"The driver of this parallel job cannot go on: {error}"


async def _work(settings: Settings, config: str, link: Link) -> str:
    slots = Slots(settings, config, link, NodeLogs(Path(settings.logs), settings.rank))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _terminate, slots)
    return await slots.run()


def _terminate(slots: Slots) -> None:
    slots.kill()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _write_rows(ledger: Ledger, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for data in ledger.rows():
            file.write(data)
