"""What is done of a job, on disk: a record for each mini-batch that has come to its end, with the rows of its result.

A record is a line of JSON, `bytes` bytes of rows, and a newline; a file of records is a segment. Each driver begins one
of its own and only ever adds to it, so whatever a kill or a copy leaves behind is read up to the first record that is
not whole. A mini-batch counts once: the first record of it that is found.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Iterator

_SEGMENT_BYTES = 32 << 20  # then another begins: where a file is stored as a whole it should not grow without end
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """`items` went into the mini-batch, `failed` of them came to nothing; `error`: why the whole did not succeed."""

    batch: int
    items: int = 0
    failed: int = 0
    seconds: float = 0
    tries: int = 1
    error: str = ""
    worker: str = ""


@dataclass(frozen=True)
class _Place:
    segment: str
    at: int
    length: int


class Ledger:
    """In `folder`, of a split with this `mark`: what another split left there is removed. Raises OSError."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder, self._mark = folder, mark
        self._places: dict[int, _Place] = {}
        self.records: dict[int, Record] = {}
        self.header = b""
        folder.mkdir(parents=True, exist_ok=True)
        self._number = 0
        for path in sorted(folder.glob("*.records")):
            self._number = int(path.stem) + 1
            self._read(path)
        self._file = self._begin()

    def add(self, record: Record, rows: bytes = b"", header: bytes = b"") -> None:
        if self._file.tell() > _SEGMENT_BYTES:
            self._file.close()
            self._file = self._begin()
        if header and not self.header:
            self.header = header
        said = {**asdict(record), "bytes": len(rows), "header": self.header.decode(errors="surrogateescape")}
        line = json.dumps(said).encode() + b"\n"
        at = self._file.tell() + len(line)
        self._file.write(line + rows + b"\n")
        self._file.flush()
        self.records[record.batch] = record
        self._places[record.batch] = _Place(self._file.name, at, len(rows))

    def rows(self) -> Iterator[bytes]:
        """Of all results, in the order of their mini-batches."""
        if self.header:
            yield self.header
        opened: dict[str, BinaryIO] = {}
        try:
            for _, place in sorted(self._places.items()):
                file = opened.get(place.segment)
                if file is None:
                    file = opened[place.segment] = open(place.segment, "rb")  # noqa: SIM115, PTH123
                file.seek(place.at)
                left = place.length
                while left and (data := file.read(min(left, _CHUNK))):
                    left -= len(data)
                    yield data
        finally:
            for file in opened.values():
                file.close()

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> BinaryIO:
        path = self._folder / f"{self._number:06}.records"
        self._number += 1
        file = path.open("xb")
        file.write(json.dumps({"mark": self._mark}).encode() + b"\n")
        file.flush()
        return file

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = _line(file)
            if first is None or first.get("mark") != self._mark:
                path.unlink()
                return
            while (said := _line(file)) is not None:
                at, length = file.tell(), int(said.pop("bytes"))
                if at + length + 1 > size:
                    return
                file.seek(at + length + 1)
                header = str(said.pop("header", "")).encode(errors="surrogateescape")
                self.header = self.header or header
                record = Record(**said)
                if record.batch not in self.records:
                    self.records[record.batch] = record
                    self._places[record.batch] = _Place(str(path), at, length)


def _line(file: BinaryIO) -> Any:
    """The next line's JSON; None where there is none that is whole."""
    line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
