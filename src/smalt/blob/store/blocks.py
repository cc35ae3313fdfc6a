"""Blocks that are uploaded but not yet committed: one spool file for each blob, and an index of what lies where in it.

Blocks that arrive in the order in which they are committed already are the blob: the commit renames the spool and
copies nothing. Otherwise they are copied together inside the kernel. The index is appended to as blocks complete, so
that an upload goes on after the server was killed; what nobody commits is swept after a week, as in Azure.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from smalt.blob.errors import invalid_block_list
from smalt.blob.names import Target
from smalt.blob.store.objects import ObjectReader, Staged
from smalt.blob.store.staging import Staging, write_all

MAX_BLOCKS = 50_000
_REMEMBERED = 2000
_ABANDONED_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes from `start`, of the spool or of the committed blob."""

    start: int
    length: int
    committed: bool = False


@dataclass
class Spool:
    """One blob's uncommitted blocks. `data` is replaced by a new file once it became a blob."""

    folder: Path
    data: Path
    blocks: dict[str, Extent] = field(default_factory=dict)
    end: int = 0  # of what is reserved
    writers: int = 0
    used_at: float = 0.0
    gone: bool = False  # committed or dropped; writers that are still at it finish into nothing

    def reserve(self, length: int) -> int:
        """Room for a block; where it begins. Pair with `complete` or `abandon`."""
        start = self.end
        self.end += length
        self.writers += 1
        return start

    def open(self) -> int:
        return os.open(self.data, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def complete(self, block: str, start: int, length: int) -> None:
        self.writers -= 1
        if self.gone:
            return
        self.blocks.pop(block, None)  # its place in the order is that of its last upload
        self.blocks[block] = Extent(start, length)
        line = "\n" + json.dumps([self.data.name, block, start, length]) + "\n"  # behind one that was cut short
        fd = os.open(self.folder / "index", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, line.encode(), os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def abandon(self, start: int, length: int) -> None:
        """The upload failed: give the room back if nothing came after it."""
        self.writers -= 1
        if self.end == start + length:
            self.end = start


class Spools:
    """All spools of one staging area; used on the event loop, but for `assemble`."""

    def __init__(self, staging: Staging, clock: Callable[[], float] = time.time) -> None:
        self._staging = staging
        self._clock = clock
        self._lock = threading.Lock()  # of what is known, against the sweeper's thread
        self._folder = staging.folder / "blocks"
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._known: OrderedDict[Target, Spool] = OrderedDict()

    def find(self, target: Target) -> Spool | None:
        """The blob's spool from memory or disk, if it has one."""
        spool = self._known.get(target)
        return spool or (self.get(target) if os.access(self._place(target), os.F_OK) else None)

    def get(self, target: Target) -> Spool:
        """The blob's spool, from memory, from disk, or new."""
        with self._lock:
            spool = self._known.get(target)
            if spool is None:
                spool = _load(Path(self._place(target)))
                self._known[target] = spool
                if len(self._known) > _REMEMBERED:
                    self._forget_idle()
            spool.used_at = self._clock()
            return spool

    def drop(self, target: Target) -> str:
        """Forget all uncommitted blocks, after a commit or with the blob.

        Returns a folder to remove, if there is one.
        """
        spool = self.find(target)
        if spool is None:
            return ""
        with self._lock:
            self._known.pop(target, None)
            if spool.gone:  # swept
                return ""
            spool.gone = True
            trash = self._staging.new_path()
            spool.folder.rename(trash)
        return trash

    def in_place(self, spool: Spool, extents: Sequence[Extent]) -> Staged | None:
        """The spool itself as the blob, if it holds exactly these blocks in this order and nobody writes to it."""
        if spool.writers or not extents:
            return None
        at = 0
        for extent in extents:
            if extent.committed or extent.start != at:
                return None
            at += extent.length
        if at != spool.end:
            return None
        os.truncate(spool.data, at)  # a failed upload may have left bytes beyond
        return self._staging.adopt(str(spool.data))

    def assemble(self, spool: Spool, extents: Sequence[Extent], committed: ObjectReader | None) -> Staged:
        """A new staged file of these blocks; takes as long as copying takes."""
        with self._staging.writer() as writer, _reading(spool.data) as source:
            for extent in _merged(extents):
                if not extent.committed:
                    writer.copy_fd(source.fileno(), extent.start, extent.length)
                elif committed is not None:
                    writer.copy(committed, extent.start, extent.length)
            return writer.finish()

    def sweep(self) -> None:
        """Remove the blocks of blobs to which none was added for a week. May run in any thread."""
        oldest = self._clock() - _ABANDONED_S
        for entry in os.scandir(self._folder):
            with self._lock:
                if self._in_use(entry.path, oldest) or _last_change(entry.path) >= oldest:
                    continue
                trash = self._staging.new_path()
                Path(entry.path).rename(trash)
            shutil.rmtree(trash, ignore_errors=True)

    def _in_use(self, folder: str, oldest: float) -> bool:
        """Whether a spool in memory is for this folder; one that is long idle is forgotten instead."""
        for target, spool in self._known.items():
            if str(spool.folder) == folder:
                if spool.writers or spool.used_at >= oldest:
                    return True
                spool.gone = True
                del self._known[target]
                return False
        return False

    def _place(self, target: Target) -> str:
        return f"{self._folder}/{hashlib.sha256(f'{target.bucket}/{target.blob}'.encode()).hexdigest()}"

    def _forget_idle(self) -> None:
        for target, spool in list(self._known.items()):
            if not spool.writers and len(self._known) > _REMEMBERED // 2:
                del self._known[target]


def resolve(entries: Sequence[tuple[str, str]], spool: Spool, committed: dict[str, Extent]) -> list[Extent]:
    """The extents of a block list: (`Latest`, `Committed` or `Uncommitted`, block id).

    BlobError(400) names what is missing.
    """
    if len(entries) > MAX_BLOCKS:
        raise invalid_block_list()
    found: list[Extent] = []
    for kind, block in entries:
        extent = spool.blocks.get(block) if kind != "Committed" else None
        if extent is None and kind != "Uncommitted":
            extent = committed.get(block)
        if extent is None:
            raise invalid_block_list(block)
        found.append(extent)
    return found


def committed_extents(text: str) -> dict[str, Extent]:
    """A row's block list as extents of the blob."""
    found: dict[str, Extent] = {}
    at = 0
    for block, size in json.loads(text) if text else ():
        found[block] = Extent(at, size, committed=True)
        at += size
    return found


def _load(folder: Path) -> Spool:
    """What the index says of the newest data file that is still there."""
    folder.mkdir(exist_ok=True, mode=0o700)
    spool = Spool(folder, folder / f"data-{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        for line in (folder / "index").read_text().splitlines():
            try:
                name, block, start, length = json.loads(line)
            except ValueError:
                continue  # torn by a full disk
            if name != spool.data.name:
                if not (folder / name).exists():
                    continue  # it became a blob
                spool = Spool(folder, folder / name)
            spool.blocks.pop(block, None)
            spool.blocks[block] = Extent(start, length)
            spool.end = max(spool.end, start + length)
    return spool


def _last_change(folder: str) -> float:
    """When something in a spool's folder was last written; 0 where it is gone."""
    try:
        return max([entry.stat().st_mtime for entry in os.scandir(folder)], default=Path(folder).stat().st_mtime)
    except OSError:
        return 0.0


def _merged(extents: Sequence[Extent]) -> list[Extent]:
    """Neighbours as one, so that they are copied with one call."""
    merged: list[Extent] = []
    for extent in extents:
        last = merged[-1] if merged else None
        if last and last.committed == extent.committed and last.start + last.length == extent.start:
            merged[-1] = Extent(last.start, last.length + extent.length, last.committed)
        else:
            merged.append(extent)
    return merged


class _reading:
    """The spool's data, or an empty file where there is none: a list may be of committed blocks alone."""

    def __init__(self, path: Path) -> None:
        self._path = path if path.exists() else Path(os.devnull)

    def __enter__(self):
        self._file = self._path.open("rb")
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()
