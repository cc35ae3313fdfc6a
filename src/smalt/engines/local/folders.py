"""The tasks' folders on disk: names, locks, and files written so that a crash leaves either the old or the new."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from smalt.agent import wire
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import TaskState

TRASH = ".trash"
_FENCE_FILE = "fence"
_DOOR = ".door"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")


def folder_name(name: str) -> str:
    """A folder's name for a task's: the same where it is plain, else a readable start and a digest."""
    if _PLAIN.fullmatch(name):
        return name
    start = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-")
    return f"{start}+{hashlib.sha256(name.encode()).hexdigest()[:20]}"


class Folders:
    """All tasks of one root. The *door* is a lock around starting and removing, shared by all servers of this root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / TRASH).mkdir(mode=0o700, exist_ok=True)

    def of(self, name: str) -> Path:
        return self.root / folder_name(name)

    def all(self) -> list[Path]:
        with os.scandir(self.root) as entries:
            return [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]

    @contextlib.contextmanager
    def door(self, exclusive: bool) -> Iterator[None]:
        """Held for milliseconds. Whoever tests a task's lock holds it shared, so that no test looks like an agent."""
        descriptor = os.open(self.root / _DOOR, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def attended(self, folder: Path) -> bool:
        """Whether an agent or its warden is alive."""
        with self.door(exclusive=False):
            try:
                descriptor = os.open(folder / wire.LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
            return False

    def discard(self, folder: Path) -> Path | None:
        """Take a folder out of sight, atomically; returns where it is now, None if there was none."""
        grave = self.root / TRASH / f"{folder.name}.{os.urandom(6).hex()}"
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return None
        return grave


def take_lock(folder: Path) -> int | None:
    """The task's lock, as a descriptor to hand on to its agent; None if somebody holds it. The door must be held."""
    descriptor = os.open(folder / wire.LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def read_state(folder: Path) -> TaskState | None:
    """None where the agent has not said anything yet. What cannot be read is a task that has begun, and no more."""
    try:
        return TaskState.from_json((folder / wire.STATE_FILE).read_text())
    except FileNotFoundError:
        return None
    except wire.UNREADABLE:
        head = read_head(folder)
        return TaskState(head.name if head else folder.name)


def read_owner(folder: Path) -> str | None:
    head = read_head(folder)
    return head.owner if head else None


def read_head(folder: Path) -> wire.Head | None:
    """None where there is none, or none that can be read."""
    try:
        return wire.Head.from_json((folder / wire.TASK_FILE).read_text())
    except (FileNotFoundError, *wire.UNREADABLE):
        return None


def read_fence(folder: Path) -> int:
    """The highest fence seen; 0 where there was none, or none can be read."""
    try:
        return int((folder / _FENCE_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def write_fence(folder: Path, fence: int) -> None:
    write_whole(folder / _FENCE_FILE, str(fence))


def delete_tree(folder: Path) -> None:
    """Folders that were made read-only (private copies of inputs) are opened first. What cannot go stays for later.

    Somebody else may be at it too: an agent removes its task's temporary files after it has said that the task ended.
    """

    def reopen(action: Callable[[str], object], path: str, error: tuple[type[BaseException], object, object]) -> None:
        if issubclass(error[0], FileNotFoundError):
            return
        with contextlib.suppress(OSError):
            parent = Path(path).parent
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o700)
            if action is os.rmdir:
                Path(path).rmdir()
            elif Path(path).is_symlink() or not Path(path).is_dir():
                Path(path).unlink(missing_ok=True)  # also what somebody else deletes at the same time
            else:
                Path(path).chmod(0o700)
                delete_tree(Path(path))

    shutil.rmtree(folder, onerror=reopen)
