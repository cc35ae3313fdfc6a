"""Blobs as plain files: `{root}/{account}/{container}/{blob}`, so that jobs on this machine use them in place.

A blob appears by rename and is never seen half-written; files that jobs wrote are blobs too. Nothing outside of a
container is reachable through it (`beneath`). Names that a file system cannot hold are refused, not translated.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from smalt.blob.beneath import Beneath
from smalt.blob.errors import blob_exists, invalid_name
from smalt.blob.fileinfo import default_etag, file_info
from smalt.blob.names import blob_name_fault, check_blob
from smalt.blob.objects import ObjectInfo, Page, Staged
from smalt.blob.staging import Staging, copy_range, write_all
from smalt.blob.walk import FolderLister

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY
_ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV, errno.EINVAL, errno.ENXIO)
)


class FileReader:
    """An open file. What a rename puts in its place later does not show; in-place appends beyond `info.size` neither."""

    def __init__(self, fd: int, info: ObjectInfo) -> None:
        self.fd = fd
        self.info = info

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self.fd, length, start)

    def read_now(self, start: int, length: int) -> bytes:
        """What the page cache has: RWF_NOWAIT never waits for a disk."""
        buffer = bytearray(length)
        try:
            count = os.preadv(self.fd, [buffer], start, os.RWF_NOWAIT)
        except OSError:
            return b""
        return bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class FolderStore:
    """An `ObjectStore` that also `Appends` and has `LocalFiles`. `staging` must be on the same file system."""

    inline = True
    keeps_version = True

    def __init__(self, root: Path, staging: Staging | None = None, beneath: Beneath | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.staging = staging or Staging(root)
        self._beneath = beneath or Beneath()
        self._lister = FolderLister(self._beneath)
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def head(self, bucket: str, name: str) -> ObjectInfo | None:
        fd = self._open_blob(bucket, name, os.O_PATH)
        if fd < 0:
            return None
        try:
            return file_info(name, os.fstat(fd))
        finally:
            os.close(fd)

    def open(self, bucket: str, name: str) -> FileReader | None:
        fd = self._open_blob(bucket, name, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang us
        if fd < 0:
            return None
        info = file_info(name, os.fstat(fd))
        if info is None:
            os.close(fd)
            return None
        return FileReader(fd, info)

    def put(self, bucket: str, name: str, staged: Staged, replace: bool = True) -> ObjectInfo:
        check_blob(name)
        folder, _, last = name.rpartition("/")
        for attempt in (1, 2, 3):
            try:
                with self._made(bucket, folder) as fd:
                    self._rename(staged.path, fd, last, replace)
                break
            except FileNotFoundError:
                if attempt == 3:
                    raise
                continue  # the folder was pruned between
            except IsADirectoryError:
                if not self._prune_empty(bucket, name):
                    raise invalid_name(
                        f"'{name}' cannot be a blob: there are blobs below '{name}/', and here a blob is a file."
                    ) from None
        return ObjectInfo(
            name, staged.size, staged.version, staged.version / 1e9, default_etag(staged.version, staged.size)
        )

    def append(self, bucket: str, name: str, data: bytes | Staged, at: int, version: int) -> ObjectInfo:
        fd = self._open_blob(bucket, name, os.O_RDWR)
        if fd < 0:
            raise FileNotFoundError(name)
        try:
            try:
                if isinstance(data, Staged):
                    with Path(data.path).open("rb") as source:
                        copy_range(source.fileno(), 0, fd, at, data.size)
                else:
                    write_all(fd, data, at)
            except BaseException:
                os.ftruncate(fd, at)
                raise
            os.utime(fd, ns=(version, version))
            info = file_info(name, os.fstat(fd))
        finally:
            os.close(fd)
        assert info is not None
        return info

    def delete(self, bucket: str, name: str) -> bool:
        if blob_name_fault(name):
            return False
        folder, _, last = name.rpartition("/")
        try:
            with self._existing(bucket, folder) as fd:
                os.unlink(last, dir_fd=fd)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EISDIR:
                return False
            raise
        self._prune_parents(bucket, folder)
        return True

    def list(self, bucket: str, prefix: str = "", after: str = "", limit: int = 5000, delimiter: str = "") -> Page:
        try:
            with self._existing(bucket) as fd:
                return self._lister.page(fd, prefix, after, limit, delimiter)
        except FileNotFoundError:
            return Page([], "")

    def remove(self, bucket: str, prefix: str = "") -> None:
        name = prefix.strip("/")
        if prefix and blob_name_fault(name):
            return
        trash = self.staging.new_path()
        path, anchor = (name, bucket) if name else (bucket, "")
        folder, _, last = path.rpartition("/")
        try:
            with self._existing(anchor, folder) as fd:
                os.rename(last, trash, src_dir_fd=fd)  # gone at once, however much it is
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise
        if stat.S_ISDIR(Path(trash).lstat().st_mode):
            shutil.rmtree(trash, ignore_errors=True)
        else:
            Path(trash).unlink()

    def make(self, bucket: str) -> None:
        (self.root / bucket).mkdir(parents=True, exist_ok=True)

    def path(self, bucket: str, name: str = "") -> Path:
        path = self.root / bucket
        trimmed = name.rstrip("/")
        if not trimmed:
            return path
        check_blob(trimmed)
        inside = path.resolve()
        if not (path / trimmed).resolve().is_relative_to(inside):
            raise invalid_name(f"'{name}' leads out of its container through a symbolic link.")
        return path / trimmed

    def close(self) -> None:
        os.close(self._root_fd)

    @contextlib.contextmanager
    def _existing(self, bucket: str, folder: str = "") -> Iterator[int]:
        """An O_PATH descriptor of a folder in a bucket (no bucket: in the root). OSError where there is none."""
        top = self._beneath.open(self._root_fd, bucket, _FOLDER_FLAGS) if bucket else os.dup(self._root_fd)
        try:
            fd = self._beneath.open(top, folder, _FOLDER_FLAGS) if folder else top
            try:
                yield fd
            finally:
                if fd != top:
                    os.close(fd)
        finally:
            os.close(top)

    @contextlib.contextmanager
    def _made(self, bucket: str, folder: str) -> Iterator[int]:
        """The same, made where missing. BlobError(400) where a blob or a symlink that leads out is in the way."""
        try:
            top = self._beneath.make_folders(self._root_fd, bucket)
            try:
                fd = self._beneath.make_folders(top, folder) if folder else top
            except OSError:
                os.close(top)
                raise
        except NotADirectoryError:
            raise invalid_name(
                f"Nothing can be stored below '{folder}': a part of it is a blob, that is, a file."
            ) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise invalid_name(f"Nothing can be stored below '{folder}': a symbolic link leads out.") from None
            raise
        try:
            yield fd
        finally:
            if fd != top:
                os.close(fd)
            os.close(top)

    def _open_blob(self, bucket: str, name: str, flags: int) -> int:
        """-1 where there is nothing that could be a blob."""
        if blob_name_fault(name):
            return -1
        try:
            top = self._beneath.open(self._root_fd, bucket, _FOLDER_FLAGS)
            try:
                return self._beneath.open(top, name, flags)
            finally:
                os.close(top)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EISDIR:
                return -1
            raise

    def _rename(self, source: str, folder: int, name: str, replace: bool) -> None:
        if replace:
            os.rename(source, name, dst_dir_fd=folder)
            return
        try:
            os.link(source, name, dst_dir_fd=folder)  # fails if there is anything; rename would replace
        except FileExistsError:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(name) from None
            raise blob_exists() from None
        Path(source).unlink()

    def _prune_empty(self, bucket: str, name: str) -> bool:
        """Remove `name` if it is a folder with nothing but folders in it."""
        parent, _, last = name.rpartition("/")
        with contextlib.suppress(FileNotFoundError), self._existing(bucket, parent) as fd:
            for _path, folders, files, here in os.fwalk(last, topdown=False, dir_fd=fd):
                if files:
                    return False
                for folder in folders:
                    try:
                        os.rmdir(folder, dir_fd=here)
                    except OSError:
                        return False
            with contextlib.suppress(OSError):
                os.rmdir(last, dir_fd=fd)
                return True
            return False
        return True

    def _prune_parents(self, bucket: str, folder: str) -> None:
        """Folders that a deletion left empty go too: in Azure's flat names they never were."""
        with contextlib.suppress(OSError):
            while folder:
                folder, _, last = folder.rpartition("/")
                with self._existing(bucket, folder) as fd:
                    os.rmdir(last, dir_fd=fd)
