"""Where bytes wait until they are a blob: complete files beside the blobs, on the same file system, in no listing.

Every staged file gets a modification time of its own (ns, strictly rising). It is known before the file becomes
visible, so the metadata row can be committed first and the rename is the one moment at which both take effect.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

from smalt.blob.store.objects import ObjectReader, Staged

FOLDER = ".staging"  # no account can have this name
COPY_CHUNK = 4 << 20
_ABANDONED_S = 24 * 3600.0
_SLOW_CREATE_S = 250e-6
_CREATES_BEFORE_MOVE = 64
_GET_FLAGS, _SET_FLAGS, _TOP_FOLDER = 0x80086601, 0x40086602, 0x20000  # linux/fs.h: FS_IOC_GETFLAGS, …, FS_TOPDIR_FL
_NO_KERNEL_COPY = frozenset((errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))


class Staging:
    """The staging area of one root. Threads may share it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        self._files = self.folder / "files"
        self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
        _spread_folders(self._files)
        self._numbers = itertools.count()
        self._prefix = f"{os.getpid():x}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._last = 0
        self._move()

    def stamp(self) -> int:
        """Now, in ns since the epoch, and never the same twice."""
        with self._lock:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last

    def new_path(self) -> str:
        return f"{self._current}/{next(self._numbers):x}"

    def create(self) -> tuple[str, int]:
        """A new empty file, open for reading and writing.

        ext4 looks for a free inode near the folder and skips every one that was freed within seconds: where much was
        just deleted, a new file takes a millisecond. A folder elsewhere on the disk is then the better place.
        """
        path = self.new_path()
        began = time.perf_counter()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._creates += 1
        self._create_s += 0.1 * (time.perf_counter() - began - self._create_s)
        if self._create_s > _SLOW_CREATE_S and self._creates > _CREATES_BEFORE_MOVE:
            self._move()
        return path, fd

    def write(self, data: bytes) -> Staged:
        """Small contents at once."""
        with StagedWriter(self) as writer:
            writer.write(data)
            return writer.finish()

    def writer(self) -> StagedWriter:
        return StagedWriter(self)

    def adopt(self, path: str) -> Staged:
        """A finished file of the staging area, stamped, but still its owner's."""
        version = self.stamp()
        os.utime(path, ns=(version, version))
        return Staged(path, Path(path).stat().st_size, version, borrowed=True)

    def drop(self, staged: Staged) -> None:
        """Delete what did not become a blob."""
        if not staged.borrowed:
            with contextlib.suppress(FileNotFoundError):
                Path(staged.path).unlink()

    def sweep(self, now: float, max_age_s: float = _ABANDONED_S) -> None:
        """Remove what uploads left behind that ended without a word: files that nobody wrote to for a day."""
        oldest = now - max_age_s
        for entry in os.scandir(self._files):
            if entry.is_dir(follow_symlinks=False):
                _remove_old(entry.path, oldest)
                if entry.path != self._current and entry.stat().st_mtime < oldest:
                    with contextlib.suppress(OSError):  # not empty
                        Path(entry.path).rmdir()
        _remove_old(str(self._files), oldest, folders=False)

    def _move(self) -> None:
        """New files go to a new folder."""
        self._current = f"{self._files}/{self._prefix}-{next(self._numbers):x}"
        Path(self._current).mkdir(mode=0o700)
        self._creates, self._create_s = 0, 0.0


class StagedWriter:
    """A staged file while it is written. Leaving the `with` without `finish` deletes it."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self.path, self.fd = staging.create()
        self.size = 0
        self._finished = False

    def __enter__(self) -> StagedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if not self._finished:
            Path(self.path).unlink()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        write_all(self.fd, data, self.size)
        self.size += len(data)

    def copy(self, reader: ObjectReader, start: int, length: int) -> None:
        """Append `length` bytes of an object, in chunks."""
        source = getattr(reader, "fd", -1)
        if source >= 0:
            self.copy_fd(source, start, length)
            return
        end = start + length
        while start < end:
            chunk = reader.read(start, min(COPY_CHUNK, end - start))
            if not chunk:
                raise EOFError("the source became shorter while it was copied")
            self.write(chunk)
            start += len(chunk)

    def copy_fd(self, source: int, start: int, length: int) -> None:
        copy_range(source, start, self.fd, self.size, length)
        self.size += length

    def finish(self) -> Staged:
        version = self._staging.stamp()
        os.utime(self.fd, ns=(version, version))
        self._finished = True
        return Staged(self.path, self.size, version)


def _remove_old(folder: str, oldest: float, folders: bool = True) -> None:
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_mtime >= oldest:
                continue
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
            elif folders:
                shutil.rmtree(entry, ignore_errors=True)


def write_all(fd: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """pwrite until all of it is there."""
    written = os.pwrite(fd, data, at)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        written_more = os.pwrite(fd, rest, at + len(data) - len(rest))
        rest = rest[written_more:]


def copy_range(source: int, start: int, target: int, at: int, length: int) -> None:
    """Copy between files inside the kernel where it can."""
    while length:
        try:
            done = os.copy_file_range(source, target, min(length, 1 << 30), start, at)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            chunk = os.pread(source, min(length, COPY_CHUNK), start)
            write_all(target, chunk, at)
            done = len(chunk)
        if not done:
            raise EOFError("the source became shorter while it was copied")
        start, at, length = start + done, at + done, length - done


def _spread_folders(folder: Path) -> None:
    """Ask the file system to put the folders in this one far apart; only a hint."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        flags[0] |= _TOP_FOLDER
        fcntl.ioctl(fd, _SET_FLAGS, flags)
    except OSError:
        pass
    finally:
        os.close(fd)
