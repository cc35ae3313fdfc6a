"""Files below one folder, reached part by part without following a symbolic link, replaced only when complete.

Used by the edge and inside MLflow's process. Jobs write into the same folder, so what lies there is not trusted.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from smalt.arm.errors import ArmError, conflict, invalid, not_found
from smalt.arm.outage import disk_full
from smalt.tracking.artifacts.files import Entry, Files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Folder(Files):
    """`root` is the folder; unfinished files are kept in `staging`, on the same file system and in no one's sight.

    Names are what `artifact_names.check_path` let through. Raises ArmError: 404 missing, 400 a folder where a file is
    meant, 409 a file where a folder is meant, 422 no space. `hides` says which files of several links are not there.
    """

    root: Path
    staging: Path
    hides: Callable[[os.stat_result], bool] = lambda _: False

    def open(self, name: str) -> BinaryIO:
        """For reading, unbuffered."""
        with self.beside(name) as (parent, last):
            try:
                descriptor = os.open(last, _FILE, dir_fd=parent)
            except OSError as error:
                raise _explained(error, name) from error
        status = os.fstat(descriptor)
        if status.st_nlink > 1 and self.hides(status):
            os.close(descriptor)
            raise _explained(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), name)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise invalid(f"The artifact '{name}' is a folder, not a file.", name)
        return os.fdopen(descriptor, "rb", buffering=0)

    def entries(self, name: str) -> list[Entry]:
        """What is directly in the folder, by name; nothing where it is missing or a file. Links are left out."""
        try:
            descriptor = self._walk([part for part in name.split("/") if part], name)
        except ArmError:
            return []
        try:
            return sorted(_entries(descriptor), key=lambda one: one.name)
        finally:
            os.close(descriptor)

    def files(self, name: str) -> Iterator[tuple[str, int]]:
        """All files below the folder with their sizes in bytes, paths relative to it, in order."""
        for one in self.entries(name):
            if not one.is_folder:
                yield one.name, one.size_bytes
                continue
            for path, size in self.files(f"{name}/{one.name}" if name else one.name):
                yield f"{one.name}/{path}", size

    def begin(self, name: str) -> UnfinishedFile:
        """Start to write a file: it appears, in place of an older one, with `commit`, never half-written."""
        try:
            self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.staging / uuid.uuid4().hex
            return UnfinishedFile(self, name, path, path.open("xb", buffering=0))
        except OSError as error:
            raise _explained(error, name) from error

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it. A missing one is ignored; a link is removed, not followed."""
        try:
            with self.beside(name) as (parent, last):
                if stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                    shutil.rmtree(last, dir_fd=parent)
                else:
                    os.unlink(last, dir_fd=parent)
        except FileNotFoundError:
            return
        except ArmError as error:
            if error.status != 404:
                raise

    def rename(self, name: str, to: str) -> None:
        """Give what is at `name` the name `to` beside it. A missing one is ignored."""
        try:
            with self.beside(name) as (parent, last):
                os.rename(last, to, src_dir_fd=parent, dst_dir_fd=parent)
        except FileNotFoundError:
            return
        except ArmError as error:
            if error.status != 404:
                raise

    @contextmanager
    def beside(self, name: str, create: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds `name`, and the last part of the name."""
        *folders, last = name.split("/")
        descriptor = self._walk(folders, name, create)
        try:
            yield descriptor, last
        finally:
            os.close(descriptor)

    def _walk(self, parts: list[str], name: str, create: bool = False) -> int:
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(error, name) from error
        for part in parts:
            above = descriptor
            try:
                if create:
                    _make(part, above)
                descriptor = os.open(part, _FOLDER, dir_fd=above)
            except OSError as error:
                raise _explained(error, name) from error
            finally:
                os.close(above)
        return descriptor


@dataclass
class UnfinishedFile:
    """A file that is being written. `abandon` after `commit` does nothing."""

    folder: Folder
    name: str
    path: Path
    file: BinaryIO

    def write(self, content: bytes | memoryview) -> int:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            raise _explained(error, self.name) from error
        return len(content)

    def commit(self) -> None:
        self.file.close()
        try:
            self.folder.root.mkdir(parents=True, exist_ok=True)
            with self.folder.beside(self.name, create=True) as (parent, last):
                os.replace(self.path, last, dst_dir_fd=parent)
        except OSError as error:
            raise _explained(error, self.name) from error

    def abandon(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


def _make(part: str, above: int) -> None:
    try:
        os.mkdir(part, dir_fd=above)
    except FileExistsError:
        return


def _entries(descriptor: int) -> Iterator[Entry]:
    with os.scandir(descriptor) as found:
        for one in found:
            if one.is_dir(follow_symlinks=False):
                yield Entry(one.name, True, 0)
            elif one.is_file(follow_symlinks=False):
                yield Entry(one.name, False, one.stat(follow_symlinks=False).st_size)


def _explained(error: OSError, name: str) -> Exception:
    if error.errno == errno.ENOENT:
        return not_found("The artifact", name)
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY):
        return conflict(f"The artifact '{name}' cannot be there: a part of its path is a file or a link.", name)
    if error.errno == errno.EISDIR:
        return conflict(f"The artifact '{name}' cannot be written: a folder has this name.", name)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(name)
    if error.errno == errno.ENAMETOOLONG:
        return invalid(f"The artifact path '{name[:80]}…' is too long.", name)
    return error
