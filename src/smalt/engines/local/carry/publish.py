"""What a task makes is taken to the store: changed files now and then while it runs, everything when it has ended.

A file is opened so that no link leads out of the mirror, and the carrier is given its descriptor: what a job swaps in
meanwhile is not what is stored. Files that a task deletes stay in the store.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smalt.agent.beneath import held, open_below
from smalt.agent.copying import walk
from smalt.agent.wire import Ref, TaskSpec
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carrier
from smalt.engines.local.carry.crew import Crew
from smalt.engines.local.carry.job import FULL, OURS, Job, reason

EVERY_S = 3.0  # while the task runs
_GROWING_BYTES = 8 << 20  # what is larger and still changes is left until it rests
_SHARE = 20  # a look that took 1 s is not repeated within 20 s
_RESTED_NS = 50_000_000  # what changed later may change again within the same tick of the file system's clock


@dataclass(frozen=True)
class Root:
    """A blob or folder that the task writes to itself."""

    ref: Ref
    what: str


def roots(task: TaskSpec) -> list[Root]:
    found = [Root(one.target, f"Output '{one.name}'") for one in task.outputs if one.target and one.mode != "direct"]
    found += [Root(one.source, f"Input '{one.name}'") for one in task.inputs if one.source and one.mode == "rw_mount"]
    if task.artifacts:
        found += [Root(task.artifacts.below(name), f"./{name}") for name in ("outputs/", "logs/")]
    return found


@dataclass(frozen=True)
class Found:
    """`name` is the path below the mirror."""

    root: Root
    blob: Ref
    name: str


class Publisher:
    def __init__(self, job: Job, carrier: Carrier, crew: Crew) -> None:
        self._job = job
        self._carrier = carrier
        self._crew = crew
        self._roots = roots(job.task)
        self._before: dict[str, tuple[int, int]] = {}  # large ones that changed at the last look: size, time of change
        self._lock = threading.Lock()  # one look at a time
        self.due = time.monotonic() + EVERY_S if self._roots else float("inf")

    def sync(self) -> None:
        """While the task runs: what changed since. A store that fails is asked again later."""
        begun = time.monotonic()
        with self._lock:
            try:
                self._crew.each(self._changed(), self._store_now, self._job.check)
                pause_s = EVERY_S
            except (ArmError, OSError) as error:
                self._job.complain("What the command wrote cannot be stored yet", error)
                pause_s = 5 * EVERY_S
        self.due = time.monotonic() + max(pause_s, _SHARE * (time.monotonic() - begun))

    def finish(self) -> tuple[int, str]:
        """All that the store does not have: how many files, and what could not be stored (empty: nothing)."""
        faults: list[str] = []
        stored: list[None] = []

        def store(one: Found) -> None:
            try:
                if self._job.patiently(lambda: self._store(one, None), self._job.check):
                    stored.append(None)
            except (ArmError, OSError) as error:
                faults.append(f"{one.root.what} could not be stored: {reason(error)} ({_base(one.name)}).")

        with self._lock:
            for root in self._roots:
                try:
                    self._crew.each(self._files(root), store, self._job.check)
                except OSError as error:
                    if error.errno not in (*FULL, *OURS):
                        raise
                    faults.append(f"{root.what} could not be stored: {reason(error)}.")
        return len(stored), "\n".join(faults)

    def _changed(self) -> Iterator[Found]:
        changing: dict[str, tuple[int, int]] = {}
        for root in self._roots:
            for one in self._files(root):
                try:
                    info = (self._job.mirror.root / one.name).lstat()
                except FileNotFoundError:
                    continue
                if self._job.ledger.has(one.name, info):
                    continue
                seen = (info.st_size, info.st_mtime_ns)
                changing[one.name] = seen
                if info.st_size <= _GROWING_BYTES or self._before.get(one.name) == seen:
                    yield one
        self._before = changing

    def _files(self, root: Root) -> Iterator[Found]:
        """Plain files, without passing any link."""
        mirror = self._job.mirror
        top = mirror.path_of(root.ref)
        inside = str(top.relative_to(mirror.root))
        try:
            if not top.is_dir():
                if top.is_file():
                    yield Found(root, root.ref, inside)
                return
            with held(top, str(mirror.root)) as opened:
                for entry, relative in walk(opened):
                    if entry.is_file(follow_symlinks=False):
                        yield Found(root, root.ref.below(relative), f"{inside}/{relative}")
        except FileNotFoundError:
            self._job.check()

    def _store_now(self, one: Found) -> None:
        self._store(one, time.time_ns())

    def _store(self, one: Found, now_ns: int | None) -> bool:
        """Whether there was something to store. `now_ns`: it may be changed while it is stored."""
        with _opened(self._job.mirror.root / one.name, str(self._job.mirror.root)) as opened:
            if opened is None:
                return False
            info = opened.stat()
            if self._job.ledger.has(one.name, info):
                return False
            if not info.st_mode & stat.S_IRUSR:
                opened.chmod(stat.S_IMODE(info.st_mode) | stat.S_IRUSR)
            self._carrier.store(opened, one.blob)
        if now_ns is None or now_ns - info.st_mtime_ns > _RESTED_NS:
            with self._job.held():
                self._job.ledger.note(one.name, info)
        return True


@contextmanager
def _opened(path: Path, base: str) -> Iterator[Path | None]:
    """A name that goes on to mean this plain file; None where there is none, or it is behind a link."""
    try:
        descriptor = open_below(path, base)
    except OSError:
        yield None
        return
    try:
        here = Path(f"/proc/self/fd/{descriptor}")
        yield here if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def _base(name: str) -> str:
    return name.rpartition("/")[2]
