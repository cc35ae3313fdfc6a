"""A task's disk: what its own folder may hold, and what it has to leave free for the platform. The agent looks.

Free space is asked for every two seconds, sooner the less there is: that is one system call. The folder is walked only
when the space that went could have taken the task over its limit, and once a minute, in slices that are short enough
for a hundredth of the time. Below what has to stay free, those tasks end that go on writing, by the kernel's count of
what each process wrote; others go on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from smalt.agent.bounds import SHARE, Ending, words
from smalt.agent.wire import Limits, Outcome

KEEP_FREE_BYTES = 256 << 20  # what the platform needs to have its reserve again (`smalt.reserve`)
MAY_STILL_WRITE_BYTES = 16 << 20  # with less than that free
LOOK_EVERY_S = 2.0
_SOONEST_S = 0.05
_WRITING = 4 * 2**30  # bytes a second, at most
_WALK_EVERY_S = 60.0
_SLICE_S = LOOK_EVERY_S / SHARE
_PROC = Path("/proc")


class DiskBound:
    """`place` is on the platform's disk, `folders` are the task's own. `wrote`: bytes that the task has written.

    `free` tells the bytes that are free at a path.
    """

    def __init__(
        self,
        limits: Limits,
        place: Path,
        folders: list[Path],
        wrote: Callable[[], int],
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self._limits = limits
        self._place = place
        self._folders = folders
        self._wrote = wrote
        self._free = free or free_bytes
        self._walk: Iterator[int | None] | None = None
        self._walked_at = self.due = time.monotonic()
        self._used = 0  # as last walked, when so much was free:
        self._free_then = self._free_at_walk = self._free(place)
        self._written: int | None = None  # when there was last enough free
        self._count_due = 0.0

    def look(self) -> Ending | None:
        if time.monotonic() < self.due:
            return None
        try:
            free = self._free(self._place)
        except OSError:  # the task is being removed
            self.due += LOOK_EVERY_S
            return None
        ending = self._fills_the_disk(free) or self._is_over(free)
        left = max(0, free - KEEP_FREE_BYTES)
        self.due = time.monotonic() + max(_SOONEST_S, min(LOOK_EVERY_S, left / _WRITING))
        return ending

    def _fills_the_disk(self, free: int) -> Ending | None:
        if free > KEEP_FREE_BYTES + LOOK_EVERY_S * _WRITING:
            self._written = None
            return None
        enough, known = free >= KEEP_FREE_BYTES, self._written is not None
        if known and time.monotonic() < self._count_due and enough:
            return None
        begun = time.thread_time()
        wrote = self._wrote()
        self._count_due = time.monotonic() + SHARE * (time.thread_time() - begun)
        if enough or self._written is None:
            self._written = wrote
            return None
        if wrote - self._written <= MAY_STILL_WRITE_BYTES:
            return None
        return Ending(
            Outcome.OUT_OF_DISK,
            f"The disk of this machine is almost full ({words(free)} are free, and the platform keeps"
            f" {words(KEEP_FREE_BYTES)} for itself), and the task that went on writing was ended."
            " Free space on the disk, or write less.",
        )

    def _is_over(self, free: int) -> Ending | None:
        limit, now = self._limits.disk_bytes, time.monotonic()
        if not limit:
            return None
        if self._walk is None:
            suspect = self._used + self._free_at_walk - free > limit
            if not suspect and now < self._walked_at + _WALK_EVERY_S:
                return None
            self._walk, self._free_then = allocated(self._folders), free
        used = _advance(self._walk, now + _SLICE_S)
        if used is None:
            return None
        self._walk, self._walked_at = None, now
        self._used, self._free_at_walk = used, self._free_then
        return Ending(Outcome.OUT_OF_DISK, too_much_disk(self._limits, used)) if used > limit else None


def too_much_disk(limits: Limits, used_bytes: int) -> str:
    return (
        f"The command's own folder holds {words(used_bytes)}, more than its node's disk ({words(limits.disk_bytes)}),"
        " and it was ended. What it wrote into its working directory, temporary files and private outputs counts."
        f" {limits.more}"
    ).rstrip()


def free_bytes(path: Path) -> int:
    """For this user. Raises OSError."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def allocated(folders: Iterable[Path]) -> Iterator[int | None]:
    """None now and then while it counts, and at last the bytes of disk that all files below take. Links are not
    followed, other file systems not entered, and a file of several names counts once.
    """
    total, seen, entries = 0, set[int](), 0
    for top in folders:
        pending, device = [str(top)], _device(top)
        while pending:
            with contextlib.suppress(OSError), os.scandir(pending.pop()) as found:
                for entry in found:
                    entries += 1
                    if entries % 256 == 0:
                        yield None
                    with contextlib.suppress(OSError):
                        info = entry.stat(follow_symlinks=False)
                        if info.st_dev != device or (info.st_nlink > 1 and info.st_ino in seen):
                            continue
                        total += info.st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        elif info.st_nlink > 1:
                            seen.add(info.st_ino)
    yield total


def written_bytes(pids: Iterable[int], proc: Path = _PROC) -> int:
    """What these processes, and those of their children that have ended, sent to disks. One that is gone counts not."""
    total = 0
    for one in pids:
        with contextlib.suppress(OSError):
            for line in (proc / str(one) / "io").read_bytes().splitlines():
                if line.startswith(b"write_bytes:"):
                    total += int(line.split()[1])
    return total


def _device(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError:
        return -1


def _advance(walk: Iterator[int | None], until: float) -> int | None:
    """What it came to, if it is through by then."""
    for found in walk:
        if found is not None or time.monotonic() >= until:
            return found
    return None
