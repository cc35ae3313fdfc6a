"""Data collection: what a deployment was asked and answered, as lines of JSON in the workspace's blob store.

A line is a CloudEvent as Azure's data collector writes it, in FOLDER/yyyy/MM/dd/HH/INSTANCE.jsonl; a file goes on as
INSTANCE-1.jsonl once it is 4 MiB. What is large or no text is a file of its own, to which its line leads.

Lines are made and written by one thread: whoever has something to collect hands over a function and goes on. What
waits is bounded; what cannot be kept is counted and said.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any, Callable, Mapping, Protocol

from .http1 import Request
from .outcome import Outcome

MOST_BYTES = 32 * 1024 * 1024  # that wait to be written
WRITE_BYTES = 4 * 1024 * 1024  # of lines that are made, before they are written
FILE_BYTES = 4 * 1024 * 1024
LARGE_BYTES = 4 * 1024 * 1024  # Azure's bound of what stands in a line
FLUSH_S = 0.2
WAIT_S = 10.0  # of a thread that scores, for a disk that is slow
HTTP_WAIT_S = 0.05  # of the thread that answers: then clients slow down
SAY_EVERY_S = 30.0
REQUEST, RESPONSE = "request", "response"
INPUTS, OUTPUTS = "model_inputs", "model_outputs"  # of models without code; scripts collect their own
JSON = "application/json"
LINE_BYTES = 512  # of a line, besides its data
FRAME = {
    "modelversion": "default",
    "collectdatatype": "pandas.core.frame.DataFrame",
    "agent": "smalt-inference/1",
}
PARTS = {"year": "%Y", "month": "%Y/%m", "day": "%Y/%m/%d", "hour": "%Y/%m/%d/%H", "minute": "%Y/%m/%d/%H/%M"}

Make = Callable[[], bytes]
Done = Callable[[bool], None]


class Records(Protocol):
    """How a model without code is asked and answers: bodies to JSON in one line."""

    def input_records(self, body: bytes) -> bytes: ...

    def output_records(self, body: bytes) -> bytes: ...


class Collection:
    """One collection: `folder` is where its files are, `url` the same for those who read, `rate` what is kept of it."""

    def __init__(self, name: str, folder: str, url: str, rate: float) -> None:
        self.name = name
        self.rate = rate
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

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self, period: str, instance: str) -> None:
        part = self._part + 1 if period == self._period else 0
        name = f"{instance}-{part}.jsonl" if part else f"{instance}.jsonl"
        file = os.open(self._place(period, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.close()
        self._file, self._period, self._part = file, period, part
        self._size = os.fstat(file).st_size

    def _place(self, period: str, name: str) -> Path:
        folder = Path(self._folder, period)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


class Waiting:
    """What is to become a line: by `make`, in the writing thread; `done` is told whether it was written."""

    __slots__ = ("collection", "done", "make", "size")

    def __init__(self, collection: Collection, make: Make, size: int, done: Done | None) -> None:
        self.collection = collection
        self.make = make
        self.size = size
        self.done = done


class Collected:
    """All collections of a replica. `config` is the launch file's `collector`:

    {"collections": {NAME: {"folder", "url", "rate"}}, "rolling": "hour", "headers": [...], "source", "instance"}
    """

    def __init__(self, config: Mapping[str, Any], logger: logging.Logger) -> None:
        self._collections = {
            name: Collection(name, one["folder"], one.get("url", ""), float(one.get("rate", 1)))
            for name, one in config["collections"].items()
        }
        self._headers = [name.lower() for name in config.get("headers", [])]
        self._form = PARTS[config.get("rolling", "hour")]
        self._source = config.get("source", "")
        self._instance = config["instance"]
        self._logger = logger
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._urgent = self._closing = False
        self._said_at = -SAY_EVERY_S
        self.written = self.lost = 0  # lines
        self.records: Records | None = None
        self._thread = threading.Thread(target=self._run, name="collected", daemon=True)
        self._thread.start()

    def rate(self, name: str) -> float:
        """What share is collected; 0: nothing."""
        one = self._collections.get(name)
        return one.rate if one is not None else 0.0

    def custom(self) -> dict[str, float]:
        """Those that scripts collect into, with their rates."""
        return {name: one.rate for name, one in self._collections.items() if name not in (REQUEST, RESPONSE)}

    def add(self, name: str, make: Make, size: int, wait_s: float = WAIT_S, done: Done | None = None) -> bool:
        """`make` gives the line, about `size` bytes. The caller is held up for `wait_s` while too much waits.

        False: it is lost, or there is no such collection.
        """
        collection = self._collections.get(name)
        if collection is None:
            return False
        with self._changed:
            if not self._has_room(size) and not self._changed.wait_for(lambda: self._has_room(size), wait_s):
                self._lose(1, "they came faster than they could be written")
                return False
            self._waiting.append(Waiting(collection, make, size, done))
            self._bytes += size
            self._urgent = self._urgent or done is not None
            if len(self._waiting) == 1 or self._urgent:
                self._changed.notify_all()
        return True

    def exchange(self, request: Request, outcome: Outcome, chance: float) -> None:
        """A scored request and its answer. `chance`, from 0 to 1, decides which collections keep it."""
        now, method, target, body = time.time(), request.method, request.target, request.body
        if self.records is not None and outcome.status == 200 and method == "POST":
            self._recorded(INPUTS, self.records.input_records, body, request.id, now, chance)
            self._recorded(OUTPUTS, self.records.output_records, outcome.body, request.id, now, chance)
        if chance < self.rate(REQUEST):
            media = request.headers.get("content-type", "")
            more: dict[str, Any] = {"path": target, "method": method}
            if seen := {name: request.headers[name] for name in self._headers if name in request.headers}:
                more["headers"] = seen
            self._exchanged(REQUEST, body, media, request.id, now, more)
        if chance < self.rate(RESPONSE):
            media = next((value for name, value in outcome.headers if name.lower() == "content-type"), "")
            more = {}
            if seen := {name: value for name, value in outcome.headers if name.lower() in self._headers}:
                more["headers"] = seen
            self._exchanged(RESPONSE, outcome.body, media, request.id, now, more)

    def line(
        self,
        name: str,
        content: bytes,
        media: str,
        correlation: str,
        at: float,
        more: Mapping[str, Any] | None = None,
        checked: bool = False,
    ) -> bytes:
        """One event. `checked`: `content` is known to be JSON in one line. Raises OSError."""
        id_ = str(uuid.uuid4())
        head = {
            "specversion": "1.0",
            "id": id_,
            "source": self._source,
            "type": "azureml.inference." + name,
            "datacontenttype": media.split(";")[0].strip().lower() or JSON,  # as a body without a type is taken
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        }
        tail = dict(more or {})
        tail["contentrange"] = f"bytes 0-{max(len(content) - 1, 0)}/{len(content)}"
        if correlation:
            tail.update(correlationid=correlation, xrequestid=correlation)
        data = content if checked and len(content) <= LARGE_BYTES else _as_json(content, head["datacontenttype"])
        if data is None:
            url = self._collections[name].store(content, self._period(), id_)
            data, tail["datainblob"] = _compact(url), "true"
        return b"".join((_compact(head)[:-1], b',"data":', data, b",", _compact(tail)[1:], b"\n"))

    def close(self) -> None:
        """Everything is written when this returns."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(WAIT_S)

    def metrics(self) -> list[str]:
        return [
            "# TYPE smalt_inference_collected_lines_total counter",
            f"smalt_inference_collected_lines_total {self.written}",
            "# TYPE smalt_inference_collected_lost_total counter",
            f"smalt_inference_collected_lost_total {self.lost}",
        ]

    def _exchanged(
        self, name: str, content: bytes, media: str, correlation: str, at: float, more: Mapping[str, Any]
    ) -> None:
        size = len(content) + LINE_BYTES
        self.add(name, lambda: self.line(name, content, media, correlation, at, more), size, HTTP_WAIT_S)

    def _recorded(
        self, name: str, read: Callable[[bytes], bytes], body: bytes, correlation: str, at: float, chance: float
    ) -> None:
        if chance < self.rate(name):
            self.add(
                name,
                lambda: self.line(name, read(body), JSON, correlation, at, FRAME, checked=True),
                len(body) + LINE_BYTES,
                HTTP_WAIT_S,
            )

    def _has_room(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= MOST_BYTES

    def _period(self) -> str:
        return time.strftime(self._form, time.gmtime())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                self._changed.wait_for(lambda: self._urgent or self._closing, FLUSH_S)
                count, closing = len(self._waiting), self._closing
                self._urgent = False
            if not count and closing:
                for collection in self._collections.values():
                    collection.close()
                return
            while count:
                count -= self._write(count)

    def _write(self, most: int) -> int:
        """The oldest `most` that wait, or fewer: lines may be many times as large as what waits. How many."""
        made: dict[Collection, list[tuple[Done | None, bytes]]] = {}
        count = size = ready = 0
        while count < most and ready < WRITE_BYTES:
            one = self._waiting.popleft()
            line = self._make(one)
            if line:
                made.setdefault(one.collection, []).append((one.done, line))
            count, size, ready = count + 1, size + one.size, ready + len(line)
            time.sleep(0)  # who answers goes first, and does not wait for the lock of the interpreter each time
        for collection, lines in made.items():
            self._append(collection, lines)
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()
        return count

    def _append(self, collection: Collection, lines: list[tuple[Done | None, bytes]]) -> None:
        written = False
        try:
            collection.append(b"".join(line for _, line in lines), self._period(), self._instance)
            written = True
            self.written += len(lines)
        except (OSError, MemoryError) as ex:
            with self._changed:
                self._lose(len(lines), getattr(ex, "strerror", None) or repr(ex))
        for done, _ in lines:
            if done is not None:
                done(written)

    def _make(self, one: Waiting) -> bytes:
        try:
            return one.make()
        except Exception as ex:  # what a model returns may be anything
            with self._changed:
                self._lose(1, f"{type(ex).__name__}: {ex}")
            if one.done is not None:
                one.done(False)
            return b""

    def _lose(self, lines: int, why: str) -> None:
        self.lost += lines
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._logger.error("collected data is lost, %s line(s) until now: %s", self.lost, why)


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
