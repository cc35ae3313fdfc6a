"""What of a root's tasks runs on this machine, seen without the server: folders, and the processes themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from smalt.agent.folder import MARK_FILE, MARK_VARIABLE
from smalt.engines.local.folders import Folders, read_owner, read_state
from smalt.settings import Settings


@dataclass(frozen=True)
class RunningTask:
    """A task with at least one process: the user's and, where they live, its agent and warden.

    `rss_bytes` is the sum over them; what they share counts for each.
    """

    name: str
    owner: str
    folder: Path
    pids: tuple[int, ...]
    rss_bytes: int


def running_tasks(settings: Settings) -> list[RunningTask]:
    """Those of `settings.root`, by name; also one that has ended and left a process behind."""
    if not settings.tasks.is_dir():
        return []
    folders = Folders(settings.tasks).all()
    marks = {_mark(folder): folder for folder in folders}
    found: defaultdict[Path, dict[int, int]] = defaultdict(dict)
    for process in psutil.process_iter():
        folder = marks.get(_mark_of(process)) or _attends(process, folders)
        if folder is not None:
            found[folder][process.pid] = _rss_bytes(process)
    return [
        RunningTask(_name(folder), read_owner(folder) or "", folder, tuple(sorted(sizes)), sum(sizes.values()))
        for folder, sizes in sorted(found.items())
    ]


def _mark(folder: Path) -> str:
    try:
        return (folder / MARK_FILE).read_text()
    except OSError:
        return str(folder)  # not even preparing; no mark is a path


def _mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK_VARIABLE, "")
    except (psutil.Error, OSError):
        return ""


def _attends(process: psutil.Process, folders: Iterable[Path]) -> Path | None:
    """The task whose agent or warden this is: nobody else stands in its folder."""
    try:
        here = Path(process.cwd())
    except (psutil.Error, OSError):
        return None
    return next((one for one in folders if one == here), None)


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _name(folder: Path) -> str:
    state = read_state(folder)
    return state.name if state else folder.name
