"""Data collection: what a deployment was asked and answered goes to a process that writes it (`collecting.py`).

Whoever has something to collect hands it over as it is and goes on; one thread takes batches of it to the process and
waits for each answer. What waits, there and here, is bounded; what cannot be kept is counted and said.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from .collecting import AS_SENT, INPUT_ROWS, JSON, OUTPUT_ROWS, Answer, Item, receive, send
from .http1 import Request
from .outcome import Outcome

MOST_BYTES = 32 * 1024 * 1024  # that wait to be written
BATCH_BYTES = 512 * 1024
FLUSH_S = 0.2
WAIT_S = 10.0  # of a thread that scores, for a disk that is slow
HTTP_WAIT_S = 0.05  # of the thread that answers: then clients slow down
SAY_EVERY_S = 30.0
REQUEST, RESPONSE = "request", "response"
INPUTS, OUTPUTS = "model_inputs", "model_outputs"  # of models without code; scripts collect their own
OVERLOAD, FAILED, STOPPED = "Overload", "WriteFailed", "Stopped"  # why lines are lost
LINE_BYTES = 512  # of a line, besides its data
FRAME = {
    "modelversion": "default",
    "collectdatatype": "pandas.core.frame.DataFrame",
    "agent": "smalt-inference/1",
}
SERVE = Path(__file__).with_name("serve.py")

Done = Callable[[bool], None]


class Waiting:
    """Items that are to become lines; `done` is told whether all of them were written."""

    __slots__ = ("done", "items", "size")

    def __init__(self, items: Sequence[Item], size: int, done: Done | None) -> None:
        self.items = items
        self.size = size
        self.done = done


class Collected:
    """All collections of a replica. `config` is the launch file's `collector`: what `Writer` reads, and "headers", the
    names of those that are kept of requests and answers."""

    def __init__(self, config: Mapping[str, Any], logger: logging.Logger) -> None:
        self._config = dict(config)
        self._rates = {name: float(one.get("rate", 1)) for name, one in config["collections"].items()}
        self._headers = [name.lower() for name in config.get("headers", [])]
        self._process = Process()
        self._logger = logger
        self._waiting: deque[Waiting] = deque()
        self._in_hand: Sequence[Item] = ()  # that are being written
        self._bytes = 0
        self._changed = threading.Condition()
        self._urgent = self._closing = self._over = False
        self._said_at = -SAY_EVERY_S
        self._written: Counter[str] = Counter()  # lines, by their collection
        self._lost: Counter[tuple[str, str]] = Counter()  # by their collection, and why
        self._thread = threading.Thread(target=self._run, name="collected", daemon=True)
        self._thread.start()

    def know_rows(self, records: Mapping[str, Any]) -> None:
        """Of a model without code, before its first request: the `records` of `Writer`."""
        self._config["records"] = records

    def rate(self, name: str) -> float:
        """What share is collected; 0: nothing."""
        return self._rates.get(name, 0.0)

    def custom(self) -> dict[str, float]:
        """Those that scripts collect into, with their rates."""
        return {name: rate for name, rate in self._rates.items() if name not in (REQUEST, RESPONSE)}

    def add(self, items: Sequence[Item], wait_s: float = WAIT_S, done: Done | None = None) -> bool:
        """A line for each. The caller is held up for `wait_s` while too much waits. False: they are lost."""
        size = sum(len(item[2]) + LINE_BYTES for item in items)
        with self._changed:
            if not self._has_room(size) and not self._changed.wait_for(lambda: self._has_room(size), wait_s):
                self._lose(items, OVERLOAD, "they came faster than they could be written")
                return False
            if self._over:
                self._lose(items, STOPPED, "they came after the end")
                return False
            self._waiting.append(Waiting(items, size, done))
            before, self._bytes = self._bytes, self._bytes + size
            self._urgent = self._urgent or done is not None
            if not before or self._urgent or before < BATCH_BYTES <= self._bytes:
                self._changed.notify_all()
        return True

    def exchange(self, request: Request, outcome: Outcome, chance: float) -> None:
        """A scored request and its answer. `chance`, from 0 to 1, decides which collections keep it."""
        now, id_, body = time.time(), request.id, request.body
        items: list[Item] = []
        if "records" in self._config and outcome.status == 200 and request.method == "POST":
            if chance < self.rate(INPUTS):
                items.append((INPUTS, INPUT_ROWS, body, JSON, id_, now, FRAME))
            if chance < self.rate(OUTPUTS):
                items.append((OUTPUTS, OUTPUT_ROWS, outcome.body, JSON, id_, now, FRAME))
        if chance < self.rate(REQUEST):
            more: dict[str, Any] = {"path": request.target, "method": request.method}
            if seen := {name: request.headers[name] for name in self._headers if name in request.headers}:
                more["headers"] = seen
            items.append((REQUEST, AS_SENT, body, request.headers.get("content-type", ""), id_, now, more))
        if chance < self.rate(RESPONSE):
            media = next((str(value) for name, value in outcome.headers if name.lower() == "content-type"), "")
            more = {}
            if seen := {str(name): str(value) for name, value in outcome.headers if name.lower() in self._headers}:
                more["headers"] = seen
            items.append((RESPONSE, AS_SENT, outcome.body, media, id_, now, more))
        if items:
            self.add(items, HTTP_WAIT_S)

    def close(self) -> None:
        """Everything is written when this returns; what was not within `WAIT_S` is counted as lost, and said."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(WAIT_S)
        with self._changed:
            left = list(self._waiting)
            rest = [*self._in_hand, *(item for one in left for item in one.items)]
            self._waiting.clear()
            self._in_hand, self._over = (), True
            if rest:
                self._said_at = -SAY_EVERY_S
                self._lose(rest, STOPPED, f"they were not written in {WAIT_S:g} s at the end")
        for one in left:
            if one.done is not None:
                one.done(False)

    @property
    def written(self) -> int:
        return sum(self._written.values())

    @property
    def lost(self) -> int:
        return sum(self._lost.values())

    def metrics(self) -> list[str]:
        with self._changed:
            written, lost = sorted(self._written.items()), sorted(self._lost.items())
        return [
            "# TYPE smalt_inference_collected_lines_total counter",
            *(f'smalt_inference_collected_lines_total{{type="{name}"}} {n}' for name, n in written),
            "# TYPE smalt_inference_collected_lost_total counter",
            *(f'smalt_inference_collected_lost_total{{type="{name}",reason="{why}"}} {n}' for (name, why), n in lost),
        ]

    def _has_room(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= MOST_BYTES

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                self._changed.wait_for(lambda: self._urgent or self._closing or self._bytes >= BATCH_BYTES, FLUSH_S)
                count = len(self._waiting)
                self._urgent = False
                self._over = self._over or not count
            if not count:
                self._process.end()
                return
            while count and (batch := self._take(count)):
                count -= len(batch)
                self._write(batch)

    def _take(self, most: int) -> list[Waiting]:
        """The oldest `most` that wait, or as many as make a batch; none where they were given up."""
        batch: list[Waiting] = []
        size = 0
        with self._changed:
            while self._waiting and len(batch) < most and size < BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += batch[-1].size
            self._in_hand = [item for one in batch for item in one.items]
        return batch

    def _write(self, batch: list[Waiting]) -> None:
        items = [item for one in batch for item in one.items]
        try:
            places, why = self._process.write(self._config, items)
        except Exception as ex:  # whatever it is, the next batch may be kept
            places, why = list(range(len(items))), f"the process that writes them failed: {ex!r}"
        lost = set(places)
        with self._changed:
            if not self._over:  # else they are counted already
                self._written.update(item[0] for at, item in enumerate(items) if at not in lost)
                if lost:
                    self._lose([items[at] for at in sorted(lost)], FAILED, why)
            self._in_hand = ()
            self._bytes -= sum(one.size for one in batch)
            self._changed.notify_all()
        at = 0
        for one in batch:
            if one.done is not None:
                one.done(lost.isdisjoint(range(at, at + len(one.items))))
            at += len(one.items)

    def _lose(self, items: Sequence[Item], reason: str, why: str) -> None:
        self._lost.update((item[0], reason) for item in items)
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._logger.error("collected data is lost, %s line(s) until now: %s", self.lost, why)


class Process:
    """The process that writes: there from the first batch on, and again after it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def write(self, config: Mapping[str, Any], items: Sequence[Item]) -> Answer:
        """Raises OSError, EOFError where it is gone: what it had written of the batch is not known."""
        try:
            if self._socket is None:
                self._socket = self._start()
                send(self._socket, config)
            send(self._socket, items)
            return receive(self._socket)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """It has closed its files when this returns."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is gone
                self._socket.shutdown(socket.SHUT_RDWR)  # also where a child of the script's has the socket, too
            self._socket.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._socket = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        # Without site-packages: only the standard library is needed, and nothing of the user's runs in it.
        command = [sys.executable, "-I", "-S", str(SERVE), "--collect"]
        with theirs:
            try:
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd="/")
            except BaseException:
                ours.close()
                raise
        return ours
