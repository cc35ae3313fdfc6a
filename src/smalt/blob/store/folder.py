"""Blobs as plain files: `{root}/{account}/{container}/{blob}`, so that jobs on this machine use them in place.

A blob appears by rename and is never seen half-written; files that jobs wrote are blobs too. Nothing outside of a
container is reachable through it (`beneath`). Names that are no paths are stored too (`filenames`): where a blob's name
is also a folder's, the folder has the path and the blob is set aside, so that a mount of the folder works.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path

from smalt.blob.errors import blob_exists, invalid_name
from smalt.blob.names import blob_name_fault, check_blob, prefix_fault, refused_name
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.fileinfo import Hides, default_etag, hides_none, visible_info
from smalt.blob.store.filenames import aside_path, beside, file_path, folder_path
from smalt.blob.store.objects import ObjectInfo, Page, Staged
from smalt.blob.store.staging import Staging, copy_range, write_all
from smalt.blob.store.walk import FolderLister

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY
_ATTEMPTS = 8  # to put a blob where jobs make and remove folders all the while
_ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV, errno.EINVAL, errno.ENXIO)
)


class FileReader:
    """An open file. What a rename puts in its place later does not show, nor do in-place appends beyond `info.size`."""

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

    def __init__(
        self,
        root: Path,
        staging: Staging | None = None,
        beneath: Beneath | None = None,
        hides: Hides = hides_none,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.staging = staging or Staging(root)
        self._beneath = beneath or Beneath()
        self._hides = hides
        self._lister = FolderLister(self._beneath, hides)
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._root_fd)

    def head(self, bucket: str, name: str) -> ObjectInfo | None:
        found = self._open_blob(bucket, name, os.O_PATH)
        if found is None:
            return None
        os.close(found[0])
        return found[1]

    def open(self, bucket: str, name: str) -> FileReader | None:
        found = self._open_blob(bucket, name, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang us
        return FileReader(*found) if found else None

    def put(self, bucket: str, name: str, staged: Staged, replace: bool = True) -> ObjectInfo:
        check_blob(name)
        path = file_path(name)
        for _ in range(_ATTEMPTS):
            folder, _, last = path.rpartition("/")
            try:
                with self._made(bucket, folder) as fd:
                    self._rename(staged.path, fd, last, replace)
                break
            except FileNotFoundError:
                if not Path(staged.path).exists():
                    raise
                continue  # the folder was pruned between
            except NotADirectoryError:
                self._set_aside(bucket, name)
            except IsADirectoryError:
                path = aside_path(name)
        else:
            raise invalid_name(f"Nothing can be stored at '{name}': a symbolic link or a special file is in the way.")
        if name.endswith("/"):
            self.make(bucket, name)
        return ObjectInfo(
            name, staged.size, staged.version, staged.version / 1e9, default_etag(staged.version, staged.size)
        )

    def append(self, bucket: str, name: str, data: bytes | Staged, at: int, version: int) -> ObjectInfo:
        found = self._open_blob(bucket, name, os.O_RDWR)
        if found is None:
            raise FileNotFoundError(name)
        fd = found[0]
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
            info = visible_info(name, os.fstat(fd), self._hides)
        finally:
            os.close(fd)
        assert info is not None
        return info

    def upload(self, bucket: str, name: str, source: Path | bytes, replace: bool = True) -> ObjectInfo:
        with self.staging.writer() as writer:
            if isinstance(source, bytes):
                writer.write(source)
            else:
                with source.open("rb") as file:
                    writer.copy_fd(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            staged = writer.finish()
        try:
            return self.put(bucket, name, staged, replace)
        except BaseException:
            self.staging.drop(staged)
            raise

    def copy(self, source: tuple[str, str], bucket: str, name: str) -> bool:
        reader = self.open(*source)
        if reader is None:
            return False
        try:
            with self.staging.writer() as writer:
                writer.copy(reader, 0, reader.info.size)
                staged = writer.finish()
        finally:
            reader.close()
        try:
            self.put(bucket, name, staged)
        except BaseException:
            self.staging.drop(staged)
            raise
        return True

    def delete(self, bucket: str, name: str) -> bool:
        if blob_name_fault(name):
            return False
        path, aside = file_path(name), aside_path(name)
        deleted = self._unlink(bucket, path)
        if aside != path and self._unlink(bucket, aside):  # also where a job's file took the place of the folder
            deleted = True
        if deleted:
            self._prune_parents(bucket, path.rpartition("/")[0])
        return deleted

    def list(self, bucket: str, prefix: str = "", after: str = "", limit: int = 5000, delimiter: str = "") -> Page:
        try:
            with self._existing(bucket) as fd:
                return self._lister.page(fd, prefix, after, limit, delimiter)
        except FileNotFoundError:
            return Page([], "")

    def remove(self, bucket: str, prefix: str = "") -> None:
        if not prefix:
            self._throw_away("", bucket)
            return
        if prefix_fault(prefix):
            return
        below = prefix if prefix.endswith("/") else prefix + "/"
        places = {folder_path(below), file_path(below)}  # the folder, and its marker
        if below != prefix:
            places |= {file_path(prefix), aside_path(prefix)}
        for path in places:
            self._throw_away(bucket, path)

    def make(self, bucket: str, folder: str = "") -> None:
        for _ in range(_ATTEMPTS):
            try:
                with self._made(bucket, folder_path(folder)):
                    return
            except NotADirectoryError:
                self._set_aside(bucket, folder)

    def path(self, bucket: str, name: str = "") -> Path:
        top = self.root / bucket
        if not name.strip("/"):
            return top
        if fault := prefix_fault(name):
            raise refused_name(name, fault)
        path = top / self._place(top, name)
        if not path.resolve().is_relative_to(top.resolve()):
            raise invalid_name(f"'{name}' leads out of its container through a symbolic link.")
        return path

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
        """The same, made where missing.

        NotADirectoryError where a file is in the way, BlobError(400) a link that leads out.
        """
        try:
            top = self._beneath.make_folders(self._root_fd, bucket)
            try:
                fd = self._beneath.make_folders(top, folder) if folder else top
            except OSError:
                os.close(top)
                raise
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

    def _open_blob(self, bucket: str, name: str, flags: int) -> tuple[int, ObjectInfo] | None:
        """The blob's file, open, or None where there is nothing that could be a blob."""
        if blob_name_fault(name):
            return None
        try:
            top = self._beneath.open(self._root_fd, bucket, _FOLDER_FLAGS)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        try:
            path = file_path(name)
            return self._open_file(top, path, name, flags) or self._open_file(top, aside_path(name), name, flags)
        finally:
            os.close(top)

    def _open_file(self, top: int, path: str, name: str, flags: int) -> tuple[int, ObjectInfo] | None:
        try:
            fd = self._beneath.open(top, path, flags)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EISDIR:
                return None
            raise
        info = visible_info(name, os.fstat(fd), self._hides)
        if info is None:
            os.close(fd)
            return None
        return fd, info

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

    def _set_aside(self, bucket: str, name: str) -> None:
        """A part of the path of `name` is a blob: move that out of the way.

        Who looks for it finds it in either place.
        """
        segments = name.split("/")
        for depth in range(1, len(segments)):
            above = "/".join(segments[:depth])
            if not segments[depth - 1]:
                continue
            path, aside = file_path(above), aside_path(above)
            with contextlib.suppress(OSError), self._existing(bucket, path.rpartition("/")[0]) as here:
                last = path.rpartition("/")[2]
                if stat.S_ISREG(os.stat(last, dir_fd=here, follow_symlinks=False).st_mode):
                    with self._made(bucket, aside.rpartition("/")[0]) as there:
                        os.rename(last, aside.rpartition("/")[2], src_dir_fd=here, dst_dir_fd=there)
                        return

    def _place(self, top: Path, name: str) -> str:
        """The folder of a prefix; of a name the folder too, unless a blob is there that is more than a marker."""
        if name.endswith("/"):
            return folder_path(name)
        path, aside = folder_path(name + "/"), aside_path(name)
        try:
            size = (top / aside).lstat().st_size
        except OSError:
            return path
        in_the_way = (top / path).is_dir() and not size
        return path if in_the_way or (top / path).is_file() else aside

    def _unlink(self, bucket: str, path: str) -> bool:
        folder, _, last = path.rpartition("/")
        try:
            with self._existing(bucket, folder) as fd:
                os.unlink(last, dir_fd=fd)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EISDIR:
                return False
            raise
        return True

    def _throw_away(self, bucket: str, path: str) -> None:
        """A file or a folder with all that is in it: gone at once by a rename, then removed."""
        trash = self.staging.new_path()
        folder, _, last = path.rpartition("/")
        try:
            with self._existing(bucket, folder) as fd:
                os.rename(last, trash, src_dir_fd=fd)
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise
        if stat.S_ISDIR(Path(trash).lstat().st_mode):
            shutil.rmtree(trash, ignore_errors=True)
        else:
            Path(trash).unlink()

    def _prune_parents(self, bucket: str, folder: str) -> None:
        """Folders that a deletion left empty go too: in Azure's flat names they never were. Marked ones stay."""
        with contextlib.suppress(OSError):
            while folder:
                folder, _, last = folder.rpartition("/")
                with self._existing(bucket, folder) as fd:
                    if _marked(fd, last):
                        return
                    os.rmdir(last, dir_fd=fd)
                    aside, _mark = beside(last)
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(aside, last, src_dir_fd=fd, dst_dir_fd=fd)
                        return


def _marked(parent: int, folder: str) -> bool:
    """Whether a blob beside the folder says that it is one: `folder/`, or an empty `folder`."""
    aside, mark = beside(folder)
    if os.access(mark, os.F_OK, dir_fd=parent):
        return True
    try:
        return os.stat(aside, dir_fd=parent, follow_symlinks=False).st_size == 0
    except OSError:
        return False
