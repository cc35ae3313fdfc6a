"""A task's folder as its agent sees it: what to do, what became of it, and whom to tell.

The agent's working directory *is* the folder and its files are named relative to it, so that the server may rename it
(to remove the task) under a living agent.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from smalt.agent import wire
from smalt.agent.whole_file import write_whole
from smalt.agent.wire import Address, Head, Hint, Phase, Places, StopRequest, TaskSpec, TaskState

MARK_FILE = "mark"
MARK_VARIABLE = "SMALT_TASK"
RESERVE_FILE = ".reserve"


class TaskFolder:
    """`path` is where the folder is now; `mark` tells this task's processes from all others on the machine."""

    def __init__(self, path: Path, hints: str = "") -> None:
        self.path = path
        self.mark = os.urandom(12).hex()
        self._hints = hints

    def spec(self) -> TaskSpec:
        return TaskSpec.from_json(Path(wire.TASK_FILE).read_text())

    def head(self) -> Head:
        """Also of a task that an older version wrote; of one that cannot be read, the folder's name and nobody."""
        try:
            return Head.from_json(Path(wire.TASK_FILE).read_text())
        except wire.UNREADABLE:
            return Head(self.path.name, "")

    def places(self) -> Places:
        return Places.from_json(Path(wire.PLACES_FILE).read_text())

    def state(self) -> TaskState | None:
        """None where nothing was said yet. What cannot be read is a task that has begun, and no more."""
        try:
            return TaskState.from_json(Path(wire.STATE_FILE).read_text())
        except FileNotFoundError:
            return None
        except wire.UNREADABLE:
            return TaskState(self.head().name)

    def stop_request(self) -> StopRequest | None:
        try:
            return StopRequest.from_json(Path(wire.STOP_FILE).read_text())
        except FileNotFoundError:
            return None
        except wire.UNREADABLE:  # there is one
            return StopRequest(0)

    def write(self, name: str, text: str) -> None:
        """Replace a file of the folder atomically; 0600."""
        write_whole(Path(name), text)

    def reserve(self) -> None:
        """Keep room on the disk for the last state, so that a full one does not make a finished task look lost."""
        descriptor = os.open(RESERVE_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # not every file system can
            os.posix_fallocate(descriptor, 0, 64 << 10)
        os.close(descriptor)

    def report(self, state: TaskState, owner: str) -> None:
        """Make `state` the state, and tell the server if it is there to listen.

        Raises OSError if it cannot be written.
        """
        try:
            self.write(wire.STATE_FILE, state.to_json())
        except OSError:
            if state.phase is not Phase.EXITED:
                raise
            Path(RESERVE_FILE).unlink(missing_ok=True)
            self.write(wire.STATE_FILE, state.to_json())
        if self._hints:
            Hint(owner, state.name).send(self._hints)


class Report:
    """The state as it grows. Running tasks go on where it cannot be written; the first and the last state must be."""

    def __init__(self, folder: TaskFolder, spec: TaskSpec, address: Address) -> None:
        self._folder = folder
        self._owner = spec.owner
        self.state = TaskState(spec.name, address=address, agent_pid=os.getpid(), accepted_at=time.time())

    def change(self, **values: Any) -> None:
        self.state = replace(self.state, **values)
        try:
            self._folder.report(self.state, self._owner)
        except OSError:
            if self.state.phase in (Phase.PREPARING, Phase.EXITED):
                raise
