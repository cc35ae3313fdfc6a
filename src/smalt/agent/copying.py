"""Private copies of files and folders: inside the kernel and shared block by block where the file system can.

Nothing here follows a symbolic link: what a link shows is either inside the copied tree, then the link is kept,
or it is left out and named.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_FICLONE = 0x40049409
_CHUNK = 64 << 20
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


def copy_file(source: Path, target: Path, mode: int = 0) -> None:
    """Copy a regular file. A script (`#!`) becomes executable, because blob storage knows no such bit.

    `mode` 0 keeps the source's and adds the owner's right to write. Raises OSError; ELOOP if `source` is a link.
    """
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        info = os.fstat(reading)
        permissions = mode or (stat.S_IMODE(info.st_mode) & 0o777 | 0o600)
        if os.pread(reading, 2, 0) == b"#!":
            permissions |= 0o100
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if info.st_size:
                _copy_content(reading, writing)
            os.fchmod(writing, permissions)
            os.utime(writing, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_content(reading: int, writing: int) -> None:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
        return
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    try:
        while os.copy_file_range(reading, writing, _CHUNK):
            pass
        return
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    while data := os.read(reading, 1 << 20):
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view) :]


def copy_tree(source: Path, target: Path, left_out: Callable[[str], None], file_mode: int = 0) -> int:
    """Copy what is below `source` into `target` (made where missing); returns the number of files.

    `left_out` is told of each link that leads out of `source` and of each thing that is neither file, folder nor link.
    """
    count = 0
    root = Path(os.path.realpath(source))
    target.mkdir(parents=True, exist_ok=True)
    for entry, relative in walk(source):
        place = target / relative
        if entry.is_dir(follow_symlinks=False):
            place.mkdir(exist_ok=True)
        elif entry.is_symlink():
            if link_stays_inside(Path(entry.path), root):
                place.symlink_to(Path(entry.path).readlink())
            else:
                left_out(f"{relative}: a link that leads out of the folder")
        elif entry.is_file(follow_symlinks=False):
            copy_file(Path(entry.path), place, file_mode)
            count += 1
        else:
            left_out(f"{relative}: neither a file nor a folder")
    return count


def walk(root: Path, prefix: str = "") -> Iterator[tuple[os.DirEntry[str], str]]:
    """Each entry below `root` with its path relative to it, folders before what they hold; links are not entered.

    An entry's own path is good until the next one is asked for: it goes through the descriptor of its folder, so that
    nobody can swap a link in on the way.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if prefix else 0))
    try:
        here = f"/proc/self/fd/{folder}"
        with os.scandir(here) as entries:
            for entry in entries:
                yield entry, prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(Path(entry.path), f"{prefix}{entry.name}/")
    finally:
        os.close(folder)


def remove_tree(root: Path) -> None:
    """Delete a folder with all that is in it, as far as that is possible."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files + folders:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if name in files or path.is_symlink():
                    path.unlink()
                else:
                    path.rmdir()
    with contextlib.suppress(OSError):
        root.rmdir()


def link_stays_inside(link: Path, root: Path) -> bool:
    """Whether a relative link shows something below `root` (a real path), however many links are on the way."""
    return not link.readlink().is_absolute() and is_inside(os.path.realpath(link), root)


def is_inside(real_path: str, real_root: Path) -> bool:
    return real_path == str(real_root) or real_path.startswith(str(real_root).rstrip("/") + "/")
