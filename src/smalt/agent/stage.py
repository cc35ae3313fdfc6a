"""The empty places in the root that grows for a task behind walls: what mounts are put on, links, and small files."""

from __future__ import annotations

import contextlib
import os

STAGE = "/tmp"  # where the new root grows, in the child's own mount namespace


def make_place(target: str, folder: bool) -> None:
    """An empty folder or file, unless something is there, and the folders above it."""
    try:
        if folder:
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        make_place(target, folder)


def make_folder(path: str) -> str:
    """`path` is as it will be inside; returns where it is now."""
    make_place(STAGE + path, folder=True)
    return STAGE + path


def make_link(path: str, to: str) -> None:
    """Unless something is there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(to, path)


def write(path: str, text: str) -> None:
    """`path` is as it will be inside; what is there is replaced."""
    make_place(STAGE + path, folder=False)
    with open(STAGE + path, "w") as file:
        file.write(text)
