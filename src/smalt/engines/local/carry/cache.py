"""Blobs that were fetched once, for all tasks of this node: `cache/AB/KEY`, by blob and ETag.

State is in the file system alone, so that any process may be killed at any line, and several may use it. A task is
shown an entry by a hard link, and reading goes on as long as it has the link: an entry of one name is held by nobody.
The time of access is that of the last use. Entries are read-only, and the fraction of the time of change is a mark of
the key: one that somebody wrote to all the same is not used again. What is fetched grows in `.parts/`, in a folder
that its process has locked, so that the next one can tell what was left behind.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from smalt.agent.copying import copy_file
from smalt.agent.wire import Ref
from smalt.arm.ports import Carrier
from smalt.engines.local.folders import delete_tree

_SECOND = 10**9
_LOW = 0.9  # so far it is emptied, of what it may hold
_NO_LINKS = (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP)


class ReadCache:
    """Holds about `most_bytes`; more only while tasks hold it."""

    def __init__(self, folder: Path, most_bytes: int, carrier: Carrier) -> None:
        self._folder = folder
        self._most = most_bytes
        self._carrier = carrier
        self._lock = threading.Lock()
        self._coming: dict[str, threading.Event] = {}
        self._evicting = threading.Lock()
        self._total: int | None = None  # bytes; unknown until it was looked through
        self._look_at = most_bytes
        self._made: set[str] = set()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parts, self._parts_lock = _own_folder(folder / ".parts")

    def has(self, blob: Ref, size: int, etag: str) -> bool:
        key = _key(blob, etag)
        return _is_whole(self._entry(key), key, size)

    def show(
        self,
        blob: Ref,
        size: int,
        etag: str,
        target: str,
        held: Callable[[], AbstractContextManager[None]],
        absent: bool = False,
    ) -> int:
        """Make `target` the blob, not to be written to; returns the bytes that were fetched for it.

        `absent`: it was not here a moment ago. Inside of `held` the folder of `target` stays the one that is meant.
        Raises what the carrier does, and OSError.
        """
        key = _key(blob, etag)
        entry = self._entry(key)
        while absent or not (_is_whole(entry, key, size) and _place(entry, target, held)):
            absent = False
            with self._alone(key) as first:
                if first and not _is_whole(entry, key, size):
                    self._bring(blob, size, etag, key, target, held)
                    return size
        return 0

    def fetch(self, blob: Ref, size: int, etag: str) -> Path:
        """A file of the caller's own, on the same file system."""
        part = self._parts / os.urandom(12).hex()
        try:
            self._carrier.fetch(blob, part, etag)
            if (found := os.stat(part).st_size) != size:  # noqa: PTH116
                raise OSError(f"'{blob.name}' ended after {found} of {size} bytes")
        except BaseException:
            for left in self._parts.glob(f"{part.name}*"):  # also what the carrier made beside it
                left.unlink(missing_ok=True)
            raise
        return part

    def settle(self) -> None:
        """A task has given back what it held."""
        if (self._total or 0) > self._most:
            self.make_room()

    def make_room(self, bytes_: int = 0) -> int:
        """Remove what was used least lately and nobody holds: at least `bytes_`, and what is too much."""
        with self._evicting:
            total, free, freed = 0, list[tuple[int, int, Path]](), 0
            for path, info in _entries(self._folder):
                total += info.st_size
                if info.st_nlink == 1:
                    free.append((info.st_atime_ns, info.st_size, path))
            goal = int(self._most * _LOW) if total > self._most else self._most
            for _, size, path in sorted(free):
                if total <= goal and freed >= bytes_:
                    break
                path.unlink(missing_ok=True)
                total, freed = total - size, freed + size
            with self._lock:
                self._total = total
                self._look_at = max(self._most, total + self._most // 10)  # all is held: not again for each file
            return freed

    def close(self) -> None:
        os.close(self._parts_lock)

    def _bring(
        self, blob: Ref, size: int, etag: str, key: str, target: str, held: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """The task has it before it is an entry, so that nobody removes it in between."""
        part, entry = str(self.fetch(blob, size, etag)), self._entry(key)
        try:
            # plain strings: ten thousand small files are fetched in a second or two
            os.chmod(part, 0o400)  # noqa: PTH101
            now = time.time_ns()
            os.utime(part, ns=(now, now // _SECOND * _SECOND + _mark(key)))
            if key[:2] not in self._made:
                (self._folder / key[:2]).mkdir(mode=0o700, exist_ok=True)
                self._made.add(key[:2])
            _link(part, target, held)
            os.replace(part, entry)  # noqa: PTH105
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        with self._lock:
            self._total = None if self._total is None else self._total + size
            full = self._total is None or self._total > self._look_at
        if full and not self._evicting.locked():
            self.make_room()

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Whether it is this thread that fetches; if not, the one that does has ended now."""
        ended = threading.Event()
        with self._lock:
            coming = self._coming.setdefault(key, ended)
        if coming is not ended:
            coming.wait()
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                del self._coming[key]
            ended.set()

    def _entry(self, key: str) -> str:
        return f"{self._folder}/{key[:2]}/{key}"


def _key(blob: Ref, etag: str) -> str:
    return hashlib.sha256("\0".join((*blob, etag)).encode()).hexdigest()[:40]


def _mark(key: str) -> int:
    """Nanoseconds; whole steps of 100, which every file system keeps that keeps fractions at all."""
    return 100 + int(key[:8], 16) % 9_999_000 * 100


def _is_whole(entry: str, key: str, size: int) -> bool:
    try:
        info = os.stat(entry)  # noqa: PTH116
    except FileNotFoundError:
        return False
    if info.st_size == size and info.st_mtime_ns % _SECOND == _mark(key):
        return True
    Path(entry).unlink(missing_ok=True)  # somebody wrote to it; who has it already keeps it
    return False


def _place(entry: str, target: str, held: Callable[[], AbstractContextManager[None]]) -> bool:
    """And it was used now. False where the entry was removed meanwhile."""
    if not _link(entry, target, held):
        return False
    with suppress(FileNotFoundError):
        info = os.stat(entry)  # noqa: PTH116
        os.utime(entry, ns=(time.time_ns(), info.st_mtime_ns))
    return True


def _link(entry: str, target: str, held: Callable[[], AbstractContextManager[None]]) -> bool:
    """False where the entry was removed meanwhile."""
    try:
        with held():
            try:
                os.link(entry, target)
            except FileExistsError:  # of a try before
                os.unlink(target)  # noqa: PTH108
                os.link(entry, target)
    except FileNotFoundError:
        if not Path(target).parent.exists():
            raise
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        copy_file(Path(entry), Path(target), 0o400)
    return True


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for shelf in folder.iterdir():
        if len(shelf.name) != 2:
            continue
        with os.scandir(shelf) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _own_folder(parts: Path) -> tuple[Path, int]:
    """A folder in `parts` that is this process's as long as the descriptor is open; those of dead ones go."""
    parts.mkdir(mode=0o700, exist_ok=True)
    for left in parts.iterdir():
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                delete_tree(left)
            finally:
                os.close(descriptor)
    while True:
        own = parts / os.urandom(6).hex()
        own.mkdir(mode=0o700)
        descriptor = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if own.exists():
                return own, descriptor
        os.close(descriptor)  # swept by another between the two lines
