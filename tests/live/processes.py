"""Which processes live. What was killed is seen in /proc for some milliseconds more, for a while in its old folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_EXITING = 0x4  # PF_EXITING of the kernel's include/linux/sched.h


def alive(pid: int) -> bool:
    """Whether it may still do something: it is neither dead (a zombie, too) nor in the midst of its end."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    words = stat.rpartition(b")")[2].split()
    return words[0] not in (b"Z", b"X") and not int(words[6]) & _EXITING


def any_alive(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if alive(pid)]


def command_of(pid: int) -> str:
    """Its words; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def working_on(root: Path) -> list[int]:
    """Those alive that have the folder in their command line, or stand in it: the caller never does."""
    found: list[int] = []
    for one in (int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
        if one != os.getpid() and (str(root) in command_of(one) or _stands_in(one, root)) and alive(one):
            found.append(one)
    return found


def _stands_in(pid: int, root: Path) -> bool:
    """Not said of one whose folder cannot be read: another user's, or one that ends."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(str(root))  # noqa: PTH115
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Raises OSError where there is no such process."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def standing(folder: Path, below: bool = False) -> list[int]:
    """Those alive that have the folder (or one `below` it, too) as their working directory."""
    found: list[int] = []
    for one in os.listdir("/proc"):  # noqa: PTH208
        if not one.isdigit():
            continue
        try:
            here = Path(os.readlink(f"/proc/{one}/cwd").removesuffix(" (deleted)"))  # noqa: PTH115
        except OSError:
            continue
        if (here == folder or (below and here.is_relative_to(folder))) and alive(int(one)):
            found.append(int(one))
    return found
