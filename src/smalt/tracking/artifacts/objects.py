"""The files of one container in an object store, as `Folder` has those of a folder."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from smalt.agent.wire import Ref
from smalt.arm.errors import invalid, not_found
from smalt.arm.ports import BlobFiles, BlobReader
from smalt.tracking.artifacts.files import Entry, Files


@dataclass(frozen=True)
class Objects(Files):
    """`Files` of the container `account`/`container`. What is being written waits in `staging`, on this machine."""

    blobs: BlobFiles
    account: str
    container: str
    staging: Path

    def open(self, name: str) -> BinaryIO:
        reader = self.blobs.open(self._ref(name))
        if reader is None:
            if next(self.blobs.level(self._ref(name + "/")), None) is not None:
                raise invalid(f"The artifact '{name}' is a folder, not a file.", name)
            raise not_found("The artifact", name)
        return cast(BinaryIO, OpenObject(reader))

    def entries(self, name: str) -> list[Entry]:
        found: dict[str, Entry] = {}
        for one in self.blobs.level(self._ref(name.rstrip("/") + "/" if name else "")):
            plain = one.name.rstrip("/")
            if plain and plain not in found:  # a blob may have a folder's name; of the two the file is listed
                found[plain] = Entry(plain, one.name.endswith("/"), one.size)
        return sorted(found.values(), key=lambda one: one.name)

    def files(self, name: str) -> Iterator[tuple[str, int]]:
        for one in self.blobs.list(self._ref(name.rstrip("/") + "/" if name else "")):
            yield one.name, one.size

    def begin(self, name: str) -> UnfinishedObject:
        self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.staging / uuid.uuid4().hex
        return UnfinishedObject(self.blobs, self._ref(name), path, path.open("xb", buffering=0))

    def remove(self, name: str) -> None:
        self.blobs.remove(self._ref(name))

    def rename(self, name: str, to: str) -> None:
        above = name.rpartition("/")[0]
        self.blobs.move(self._ref(name), f"{above}/{to}" if above else to)

    def _ref(self, name: str) -> Ref:
        return Ref(self.account, self.container, name)


@dataclass
class UnfinishedObject:
    blobs: BlobFiles
    ref: Ref
    path: Path
    file: BinaryIO

    def write(self, content: bytes | memoryview) -> int:
        rest = memoryview(content)
        while rest:
            rest = rest[self.file.write(rest) :]
        return len(content)

    def commit(self) -> None:
        self.file.close()
        self.blobs.store(self.path, self.ref)

    def abandon(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


class OpenObject(io.RawIOBase):
    """A blob as a file that is read."""

    def __init__(self, reader: BlobReader) -> None:
        self._reader = reader
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._reader.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._reader.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()
