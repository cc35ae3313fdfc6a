"""Before a task starts: what it reads and goes on to write is brought into its mirror."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smalt.agent.bounds import words
from smalt.agent.disk import KEEP_FREE_BYTES, free_bytes
from smalt.agent.wire import InputSpec, Outcome, Ref, TaskSpec
from smalt.arm.errors import ArmError
from smalt.arm.ports import Carried, Carrier
from smalt.engines.local.carry.cache import ReadCache
from smalt.engines.local.carry.crew import Crew
from smalt.engines.local.carry.job import FULL, Ended, Job, reason
from smalt.engines.local.carry.mirror import is_file_name

PATIENCE_S = 600.0  # so long one file is tried, and a store that does not answer
_SAY_EVERY_S = 5.0
_FEW, _SMALL_BYTES = 16, 256 << 10
_READ = ("ro_mount", "eval_mount", "download", "eval_download")
_WRITTEN = ("rw_mount", "mount")


@dataclass(frozen=True)
class Need:
    """`missing` is the error where there is nothing; empty: that is fine. `own`: the task may write to it."""

    ref: Ref
    what: str
    own: bool = False
    missing: str = ""


@dataclass(frozen=True)
class Item:
    need: Need
    blob: Ref
    size: int
    etag: str
    target: str
    own: bool


def needs(task: TaskSpec) -> Iterator[Need]:
    """In the order in which the agent looks for them. What has a mode that there is not, is the agent's to refuse."""
    if task.code:
        gone = f"The code of this job is gone: nothing is at {task.code.name}. Submit it again."
        yield Need(task.code, "the code", missing=gone)
    for one in task.inputs:
        if one.source and one.mode in (*_READ, "rw_mount"):
            yield Need(one.source, f"input '{one.name}'", one.mode == "rw_mount", _missing_input(one, one.source))
    for one in task.outputs:
        private = task.walls is not None and one.type == "uri_file"
        if one.target and one.mode in _WRITTEN and not private:
            yield Need(one.target, f"output '{one.name}'", own=True)
    if task.artifacts:
        for name in ("outputs/", "logs/"):
            yield Need(task.artifacts.below(name), "artifacts", own=True)
    model = task.server.model if task.server else None
    if model:
        gone = f"The model of this deployment is gone: nothing is at {model.name}. Register it again."
        yield Need(model, "the model", own=task.walls is None, missing=gone)  # in the open it may be linked


def _missing_input(one: InputSpec, source: Ref) -> str:
    return f"Input '{one.name}': nothing is at {one.uri or source.name}. Check that it was uploaded or written."


class Fetch:
    """`run` returns when all is in place. Raises Ended, Over."""

    def __init__(self, job: Job, carrier: Carrier, cache: ReadCache, crew: Crew) -> None:
        self._job = job
        self._carrier = carrier
        self._cache = cache
        self._crew = crew
        self._lock = threading.Lock()
        self._files, self._bytes = 0, 0
        self._made: set[str] = set()
        self._absent: set[str] = set()  # targets of what the cache had not when this began
        self._say_at = time.monotonic() + _SAY_EVERY_S
        self._total = ""

    def run(self) -> None:
        job, begun = self._job, time.monotonic()
        job.mirror.root.mkdir(mode=0o700, exist_ok=True)
        job.ledger.begin()
        items = list(self._items())
        if not items:
            return
        absent = [one for one in items if one.own or not self._cache.has(one.blob, one.size, one.etag)]
        self._absent = {one.target for one in absent}
        size = sum(one.size for one in absent)
        self._total = f"{len(items)} files, {len(absent)} of them ({words(size)}) not on this machine yet"
        self._have_room(size)
        self._crew.each(_together(items), self._bring_all, self._check)
        job.say(f"{self._total}: all are here, {time.monotonic() - begun:.3f} s")

    def _check(self) -> None:
        self._job.check_start()
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_S
            self._job.say(f"{self._total}: {self._files} files are here, {words(self._bytes)} fetched")

    def _items(self) -> Iterator[Item]:
        """Of all that the task needs, listed before anything is fetched: what is missing is said at once."""
        wanted, mirror = list(enumerate(needs(self._job.task))), self._job.mirror
        listed: dict[int, tuple[Ref, list[Carried]]] = {}

        def look(one: tuple[int, Need]) -> None:
            listed[one[0]] = self._list(one[1])

        self._crew.each(wanted, look, self._check)
        for at, need in wanted:
            if need.missing and not listed[at][1]:
                raise Ended(Outcome.SETUP, need.missing)
        own = [str(mirror.path_of(need.ref)) for _, need in wanted if need.own]
        for at, need in wanted:
            ref, blobs = listed[at]
            top = str(mirror.path_of(ref))
            for one in blobs:
                blob = ref.below(one.name) if one.name else ref
                if one.name and not is_file_name(one.name):
                    self._job.say(f"{need.what} without '{blob.name}': no file can have this name")
                    continue
                target = f"{top}/{one.name}" if one.name else top
                ours = any(target == folder or target.startswith(f"{folder}/") for folder in own)
                yield Item(need, blob, one.size, one.etag, target, ours)

    def _list(self, need: Need) -> tuple[Ref, list[Carried]]:
        """Also where a folder's name has no `/` at its end, or a blob's has one: a store with files knows neither."""
        bare = need.ref._replace(name=need.ref.name.removesuffix("/"))
        folder = need.ref._replace(name=bare.name + "/" if bare.name else "")
        found: list[Carried] = []
        other = bare if need.ref.name.endswith("/") else folder
        for ref in (need.ref, other) if need.missing and bare.name else (need.ref,):
            try:
                found = self._job.patiently(lambda ref=ref: list(self._carrier.list(ref)), self._check, PATIENCE_S)
            except ArmError as error:
                if error.status != 404:
                    raise self._failed(need, error) from error
            except OSError as error:
                raise self._failed(need, error) from error
            if found:
                return ref, found
        return need.ref, []

    def _have_room(self, size: int) -> None:
        """Raises Ended where the disk cannot hold it, before anything is fetched."""
        place = self._job.mirror.root
        lacking = size + KEEP_FREE_BYTES - free_bytes(place)
        if size and lacking > 0:
            self._cache.make_room(lacking)
            free = free_bytes(place)
            if size + KEEP_FREE_BYTES > free:
                raise _no_room(
                    f"{words(size)} are to be fetched, {words(free)} are free, and the platform keeps"
                    f" {words(KEEP_FREE_BYTES)} for itself"
                )

    def _bring_all(self, items: list[Item]) -> None:
        self._job.check_start()
        fetched = sum(self._bring(one) for one in items)
        with self._lock:
            self._files, self._bytes = self._files + len(items), self._bytes + fetched

    def _bring(self, one: Item) -> int:
        try:
            return self._job.patiently(lambda: self._try(one), self._job.check_start, PATIENCE_S)
        except (ArmError, OSError) as error:
            raise self._failed(one.need, error, one.blob.name) from error

    def _try(self, one: Item) -> int:
        try:
            return self._place(one, one.size, one.etag)
        except ArmError:
            raise
        except OSError as error:
            if error.errno in FULL and self._cache.make_room(one.size):
                return self._place(one, one.size, one.etag)
            now = next((found for found in self._carrier.list(one.blob) if not found.name), None)
            if now is None or now.etag == one.etag:
                raise
            return self._place(one, now.size, now.etag)  # it was written meanwhile

    def _place(self, one: Item, size: int, etag: str) -> int:
        target, job = one.target, self._job
        folder = target.rpartition("/")[0]
        if folder not in self._made:
            with job.held():
                Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(folder)
        if not one.own:
            return self._cache.show(one.blob, size, etag, target, job.held, absent=target in self._absent)
        part = self._cache.fetch(one.blob, size, etag)
        try:
            part.chmod(0o600)
            with job.held():
                part.replace(target)
                job.ledger.note(str(Path(target).relative_to(job.mirror.root)), Path(target).stat())
        finally:
            part.unlink(missing_ok=True)
        return size

    def _failed(self, need: Need, error: Exception, name: str = "") -> Ended:
        if isinstance(error, OSError) and error.errno in FULL:
            return _no_room(f"while {need.what} was fetched")
        of = f" ({os.path.basename(name)})" if name else ""  # noqa: PTH119  a blob's name
        return Ended(Outcome.SETUP, f"{need.what[0].upper()}{need.what[1:]} could not be fetched{of}: {reason(error)}.")


def _together(items: list[Item]) -> Iterator[list[Item]]:
    """A thread's work: one large file, or a few small ones, which cost more to hand out than to fetch."""
    few: list[Item] = []
    for one in items:
        few.append(one)
        if len(few) == _FEW or one.size > _SMALL_BYTES:
            yield few
            few = []
    if few:
        yield few


def _no_room(why: str) -> Ended:
    return Ended(
        Outcome.OUT_OF_DISK,
        f"The disk of this machine is too full for what the task needs: {why}."
        " Free space on the disk, or give the task less.",
    )
