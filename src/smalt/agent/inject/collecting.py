"""The process that writes what a replica collects: batches come in, lines of JSON go into the workspace's blob store.

A line is a CloudEvent as Azure's data collector writes it, in FOLDER/yyyy/MM/dd/HH/INSTANCE.jsonl; a file goes on as
INSTANCE-1.jsonl once it is 4 MiB. What is large or no text is a file of its own, to which its line leads.

`collected.py` starts it, in an interpreter of its own, so that making lines takes nothing from the one that answers.
Its stdin is a socket, over which marshalled values go, each behind its length: first `config`, then batches; each batch
has one answer. The end of the socket ends it; signals do not, because its parent may still have lines for it.
"""

from __future__ import annotations

import json
import marshal
import os
import signal
import socket
import struct
import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

from .records import RowRecords

WRITE_BYTES = 4 * 1024 * 1024  # of lines that are made, before they are written: they may be larger than what came
FILE_BYTES = 4 * 1024 * 1024
LARGE_BYTES = 4 * 1024 * 1024  # Azure's bound of what stands in a line
JSON = "application/json"
# What an item's content is: a body as it was sent, JSON in one line, or a body of a model without code
AS_SENT, ONE_LINE, INPUT_ROWS, OUTPUT_ROWS = range(4)
PARTS = {"year": "%Y", "month": "%Y/%m", "day": "%Y/%m/%d", "hour": "%Y/%m/%d/%H", "minute": "%Y/%m/%d/%H/%M"}
_LENGTH = struct.Struct("<Q")

# collection, what its content is, content, media type, correlation id, seconds since the epoch, more attributes
Item = Tuple[str, int, bytes, str, str, float, Mapping[str, Any]]
Answer = Tuple[List[int], str]  # places of the items that are lost, and why


class Collection:
    """One collection: `folder` is where its files are, `url` the same for those who read."""

    def __init__(self, folder: str, url: str) -> None:
        self._folder = folder
        self._url = url
        self._file = -1
        self._period = ""
        self._part = 0
        self._size = 0

    def append(self, lines: bytes, period: str, instance: str) -> None:
        """All of it or nothing. Raises OSError."""
        if self._file < 0 or period != self._period or self._size >= FILE_BYTES:
            self._open(period, instance)
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def store(self, content: bytes, period: str, name: str) -> str:
        """A file of its own; returns its URL. Raises OSError."""
        with self._place(period, name).open("xb") as file:
            file.write(content)
        return "/".join((self._url, period, name))

    def _open(self, period: str, instance: str) -> None:
        part = self._part + 1 if period == self._period else 0
        name = f"{instance}-{part}.jsonl" if part else f"{instance}.jsonl"
        file = os.open(self._place(period, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._period, self._part = file, period, part
        self._size = os.fstat(file).st_size

    def _place(self, period: str, name: str) -> Path:
        folder = Path(self._folder, period)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


class Writer:
    """All collections of a replica. `config` is the launch file's `collector`:

    {"collections": {NAME: {"folder", "url", "rate"}}, "rolling": "hour", "source", "instance"}

    and, of a model without code, "records": {"columns": [[NAME, TYPE, REQUIRED], …] | None, "outputs": [NAME, …]}.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._collections = {
            name: Collection(one["folder"], one.get("url", "")) for name, one in config["collections"].items()
        }
        self._form = PARTS[config.get("rolling", "hour")]
        self._instance: str = config["instance"]
        self._records = RowRecords(**config["records"]) if config.get("records") else None
        self._lost: list[int] = []
        self._why = ""
        # One for each pair of collection and media type; media types are the clients' own words.
        self._middle = lru_cache(256)(lambda name, media: _middle(config.get("source", ""), name, media))

    def write(self, items: Sequence[Item]) -> Answer:
        """A line for each, in their order. Never raises: what cannot be written is in the answer."""
        self._lost, self._why = [], ""
        made: dict[str, dict[int, bytes]] = {}
        ready = 0
        for at, item in enumerate(items):
            line = self._make(at, item)
            if line:
                made.setdefault(item[0], {})[at] = line
                ready += len(line)
            if ready >= WRITE_BYTES:
                self._append(made)
                made, ready = {}, 0
        self._append(made)
        return self._lost, self._why

    def _append(self, made: Mapping[str, Mapping[int, bytes]]) -> None:
        for name, lines in made.items():
            try:
                self._collections[name].append(b"".join(lines.values()), self._period(), self._instance)
            except (OSError, MemoryError) as ex:
                self._lost.extend(lines)
                self._why = getattr(ex, "strerror", None) or repr(ex)

    def _make(self, at: int, item: Item) -> bytes:
        try:
            return self._line(item)
        except Exception as ex:  # what a model returns may be anything
            self._lost.append(at)
            self._why = f"{type(ex).__name__}: {ex}"
            return b""

    def _line(self, item: Item) -> bytes:
        """One event. Raises OSError, and ValueError where rows were expected."""
        name, what, content, media, correlation, at, more = item
        media = media.split(";")[0].strip().lower() or JSON  # as a body without a type is taken
        if what in (INPUT_ROWS, OUTPUT_ROWS):
            if self._records is None:
                raise ValueError("the model's columns are not known")
            content = self._records.inputs(content) if what == INPUT_ROWS else self._records.outputs(content)
        id_ = str(uuid.uuid4())
        tail = {**more, "contentrange": f"bytes 0-{max(len(content) - 1, 0)}/{len(content)}"}
        if correlation:
            tail["correlationid"] = tail["xrequestid"] = correlation
        data = content if what != AS_SENT and len(content) <= LARGE_BYTES else _as_json(content, media)
        if data is None:
            url = self._collections[name].store(content, self._period(), id_)
            data, tail["datainblob"] = _compact(url), "true"
        start = b'{"specversion":"1.0","id":"%b"' % id_.encode()
        when = b',"time":"%b","data":' % _seconds(int(at))
        return b"".join((start, self._middle(name, media), when, data, b",", _compact(tail)[1:], b"\n"))

    def _period(self) -> str:
        return time.strftime(self._form, time.gmtime())


def send(to: socket.socket, value: Any) -> None:
    """Raises OSError; ValueError for what cannot be marshalled."""
    content = marshal.dumps(value)
    to.sendall(_LENGTH.pack(len(content)))
    to.sendall(content)


def receive(source: socket.socket) -> Any:
    """Raises EOFError at the end, OSError."""
    (size,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return marshal.loads(_exactly(source, size))  # from our own parent or child, the same interpreter


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as parent:
        try:
            writer = Writer(receive(parent))
            while True:
                send(parent, writer.write(receive(parent)))
        except (EOFError, OSError):
            return


def _exactly(source: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        count = source.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return content


def _middle(source: str, name: str, media: str) -> bytes:
    head = {"source": source, "type": "azureml.inference." + name, "datacontenttype": media}
    return b"," + _compact(head)[1:-1]


@lru_cache(64)
def _seconds(at: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)).encode()


def _refuse(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _as_json(content: bytes, media: str) -> bytes | None:
    """What stands for `content` in a line; None where it does not belong there: it is large, or no text."""
    if len(content) > LARGE_BYTES:
        return None
    if media == JSON or media.endswith("+json"):
        try:
            json.loads(content.decode("utf-8"), parse_constant=_refuse)
            return content.replace(b"\n", b" ").replace(b"\r", b" ")  # they are between tokens
        except (ValueError, RecursionError):
            pass
    try:
        return _compact(content.decode("utf-8"))
    except UnicodeDecodeError:
        return None
