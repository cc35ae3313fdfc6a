"""`smalt status`: whether the platform answers, and what its processes take."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from smalt.cli.probe import Probe
from smalt.cli.root import holder, resolve
from smalt.cli.supervisor import View, read_view
from smalt.cli.tasks import TaskStatus, lines, observe_tasks
from smalt.cli.version import installed
from smalt.config import read_settings
from smalt.engines.local.isolation import Walling
from smalt.settings import Settings

NOT_RUNNING = 3
_LEVELS = {
    "network": "network (files, processes and a network of their own)",
    "walls": "walls (files and processes of their own)",
    "files": "[yellow]files (Landlock alone: weak)[/]",
    "none": "[yellow]none: only the owner's may run; smalt doctor says why[/]",
    "off": "[yellow]off: jobs can read every key of this platform[/]",
}


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    pid: int
    rss_bytes: int
    restarts: int


@dataclass(frozen=True)
class Status:
    """The contract of `smalt status --json`: these fields, in this order."""

    ready: bool
    url: str
    version: str
    database: str
    store: str
    isolation: str
    ray: str
    processes: list[ProcessStatus]
    tasks: list[TaskStatus]


def run(root: Path | None, as_json: bool) -> int:
    settings = read_settings(resolve(root))
    status = observe(settings)
    if as_json:
        print(json.dumps(asdict(status)))
    else:
        _show(settings, status)
    return 0 if status.ready else NOT_RUNNING


def observe(settings: Settings) -> Status:
    """Asks the platform itself; the supervisor's file only names the processes."""
    supervisor, tasks = holder(settings.root), observe_tasks(settings)
    level = Walling(settings).isolation().level if settings.root.is_dir() else settings.isolation
    what = (settings.url, installed(), settings.shown_database, settings.shown_store, level, settings.ray)
    view = read_view(settings.run / "supervisor.json") if supervisor else None
    if view is None or view.pid != supervisor:
        return Status(False, *what, [], tasks)
    return Status(asyncio.run(Probe(settings).answers()), *what, _processes(view), tasks)


def _processes(view: View) -> list[ProcessStatus]:
    named = [("supervisor", view.pid, 0)]
    named += [(one.name, one.pid, one.restarts) for one in view.processes if one.pid]
    found: list[ProcessStatus] = []
    for name, pid, restarts in named:
        try:
            rss_bytes = psutil.Process(pid).memory_info().rss
        except psutil.Error:  # it ended since
            continue
        found.append(ProcessStatus(name, pid, rss_bytes, restarts))
    return found


def _show(settings: Settings, status: Status) -> None:
    console = Console(highlight=False)
    if not status.processes:
        console.print(
            f"Smalt is not running on {settings.root}. Start it with: smalt up --detach --root {settings.root}"
        )
        _show_tasks(status)
        return
    word = "[green]ready[/]" if status.ready else "[yellow]not answering[/]"
    console.print(f"Smalt {status.version} at {status.url}: {word}")
    console.print(f"Its rows are in {status.database}", markup=False, soft_wrap=True)
    console.print(f"Its blobs are in {status.store}", markup=False, soft_wrap=True)
    console.print(f"Isolation of jobs: {_LEVELS[status.isolation]}")
    if status.ray:
        console.print(f"New clusters have their nodes on Ray: {status.ray}", markup=False, soft_wrap=True)
    table = Table(box=None)
    for heading, side in (("process", "left"), ("pid", "right"), ("memory", "right"), ("restarts", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for one in status.processes:
        table.add_row(one.name, str(one.pid), f"{one.rss_bytes / 2**20:.0f} MiB", str(one.restarts))
    console.print(table)
    if status.ready and not any(one.name == "mlflow" for one in status.processes):
        console.print("MLflow's process starts with the first request that needs it")
    _show_tasks(status)


def _show_tasks(status: Status) -> None:
    """What outlives the platform. Plain lines, as `smalt down` says them."""
    if status.tasks:
        print("Running beside it, and going on without it:")
        print("\n".join(lines(status.tasks)))
