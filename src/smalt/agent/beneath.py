"""Files of the store, opened so that no link that somebody swaps in on the way leads out of it.

Who checks a name and opens it later can be given something else in between: another job writes into the store too. What
is opened here is reached in one system call that passes no symbolic link, and is used by its descriptor alone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smalt.agent import linux


def open_below(path: Path | str, base: str) -> int:
    """A descriptor (O_PATH) of `path`, which is below the folder `base`; without a base as it is.

    Raises OSError: ELOOP where a link is on the way.
    """
    if not base:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    top = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.open_beneath(top, os.path.relpath(path, base))
    finally:
        os.close(top)


def open_plain(path: Path | str, base: str, flags: int) -> int:
    """A descriptor of the plain file `path`, opened with `flags`; `base` as in `open_below`.

    Nothing else is opened: a FIFO would hold up who opens it. Raises OSError: ELOOP or EPERM for what is no plain file.
    """
    place = open_below(path, base) if base else os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise PermissionError(errno.EPERM, "this is no plain file", str(path))
        return os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC)
    finally:
        os.close(place)


@contextmanager
def held(path: Path, base: str) -> Iterator[Path]:
    """`path` for as long as the block lasts, under a name that goes on to mean the same: a file's folder, a folder."""
    if not base:
        path = Path(os.path.realpath(path))
    folder = open_below(path if path.is_dir() else path.parent, base)
    try:
        here = Path(f"/proc/self/fd/{folder}")
        yield here if path.is_dir() else here / path.name
    finally:
        os.close(folder)


@contextmanager
def made(folder: Path, base: str) -> Iterator[Path]:
    """`folder`, made where missing, under a name that stays the same folder for as long as the block lasts."""
    if not base:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    here = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folder.relative_to(base).parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        yield Path(f"/proc/self/fd/{here}")
    finally:
        os.close(here)
