"""A task's TMPDIR: in its folder, or where paths are short."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smalt.agent.copying import remove_tree
from smalt.agent.failures import SetupError
from smalt.agent.folder import TaskFolder
from smalt.agent.pipes import USER_FOLDER


def make(folder: TaskFolder, walled: bool = False, most: int = 60) -> Path:
    """TMPDIR: in the task's folder, unless that has more than `most` bytes: Unix sockets in it have to fit their 107.

    Behind walls it is seen as `/tmp`, so it may be deep.
    """
    inside = folder.path / USER_FOLDER / "tmp"
    place = inside if walled or len(os.fsencode(inside)) <= most else outside(folder)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = place.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise SetupError(f"{place}, the folder for temporary files, belongs to somebody else; remove it.")
    return place


def remove_all(folder: TaskFolder) -> None:
    for place in (folder.path / USER_FOLDER / "tmp", outside(folder)):
        remove(place)


def remove(place: Path) -> None:
    if not place.is_symlink():
        remove_tree(place)


def outside(folder: TaskFolder) -> Path:
    return Path("/tmp") / f"smalt-{folder.mark}"
