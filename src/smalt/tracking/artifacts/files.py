"""What artifacts need of the place where they lie: `Folder` has it for files of this machine, `Objects` for a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from smalt.arm.errors import ArmError


@dataclass(frozen=True)
class Entry:
    name: str
    is_folder: bool
    size_bytes: int


class Unfinished(Protocol):
    """A file that is being written. `abandon` after `commit` does nothing."""

    def write(self, content: bytes | memoryview) -> int: ...

    def commit(self) -> None: ...

    def abandon(self) -> None: ...


class Files(Protocol):
    """Names are what `artifact_names.check_path` let through.

    Raises ArmError: 404 missing, 400 a folder where a file is meant, 409 a file where a folder is meant, 422 no space.
    """

    def open(self, name: str) -> BinaryIO:
        """For reading, unbuffered; it can seek."""
        ...

    def is_file(self, name: str) -> bool:
        try:
            self.open(name).close()
        except ArmError:
            return False
        return True

    def entries(self, name: str) -> list[Entry]:
        """What is directly in the folder, by name; nothing where it is missing or a file."""
        ...

    def files(self, name: str) -> Iterator[tuple[str, int]]:
        """All files below the folder with their sizes in bytes, paths relative to it, in order."""
        ...

    def begin(self, name: str) -> Unfinished:
        """Start to write a file: it appears, in place of an older one, with `commit`, never half-written."""
        ...

    @contextmanager
    def replace(self, name: str) -> Iterator[Unfinished]:
        """`begin`, then `commit` when the block ends well."""
        unfinished = self.begin(name)
        try:
            yield unfinished
            unfinished.commit()
        finally:
            unfinished.abandon()

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it. A missing one is ignored."""
        ...

    def rename(self, name: str, to: str) -> None:
        """Give what is at `name` the name `to` beside it. A missing one is ignored."""
        ...
