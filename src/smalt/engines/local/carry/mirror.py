"""What a task sees of a store that has no files here: names become paths below one folder of its own.

tasks/NAME/carry/           is there once the engine has taken the task
  store/ACCOUNT/CONTAINER/  inputs (links into the cache), outputs, artifacts and logs, at their names
  ledger                    what the store has of the task's own files, one JSON line a file
  logs                      how long each log was in the store when the task began with it
  published                 everything is in the store: only now is the task's end told
  lock                      held by the engine that carries
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError

CARRY = "carry"
_NEVER_PARTS = ("", ".", "..")


def is_file_name(name: str) -> bool:
    """Whether a blob's name can be that of a file below a folder."""
    return "\0" not in name and not any(part in _NEVER_PARTS for part in name.split("/"))


class Mirror:
    def __init__(self, folder: Path) -> None:
        """`folder` is the task's."""
        self.carry = folder / CARRY
        self.root = self.carry / "store"

    @property
    def taken(self) -> bool:
        return self.carry.exists()

    @property
    def published(self) -> bool:
        return (self.carry / "published").exists()

    @property
    def unpublished(self) -> bool:
        """Whether it is carried, and not all of it is in the store."""
        return self.taken and not self.published

    def mark_published(self) -> None:
        (self.carry / "published").touch()

    def path(self, account: str, container: str, name: str) -> Path:
        """Raises ArmError(400) for a name that no file has."""
        inside = "/".join(one for one in (account, container, name.strip("/")) if one)
        if not is_file_name(inside):
            raise ArmError(400, "UserError", f"'{name}' cannot be brought to a machine: no file has such a name.", name)
        return self.root / inside

    def path_of(self, ref: Ref) -> Path:
        return self.path(*ref)


class Ledger:
    """What the store has: path below the mirror → size, time of change and inode that the file had then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, list[int]] = {}
        with suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                with suppress(ValueError):  # the last one, cut short
                    name, *stamp = json.loads(line)
                    self._known[name] = stamp

    def begin(self) -> None:
        with self._lock:
            self._known.clear()
            self._path.write_text("")

    def has(self, name: str, info: os.stat_result) -> bool:
        return self._known.get(name) == _stamp(info)

    def knows(self, name: str) -> bool:
        return name in self._known

    def note(self, name: str, info: os.stat_result) -> None:
        stamp = _stamp(info)
        with self._lock, self._path.open("a") as file:
            self._known[name] = stamp
            file.write(json.dumps([name, *stamp]) + "\n")


def _stamp(info: os.stat_result) -> list[int]:
    return [info.st_size, info.st_mtime_ns, info.st_ino]
