"""How nodes come to mini-batches: through the `Desk`, which is in the first node's driver; the others call it by TCP.

A node says first what it knows of the job's secret. Then it pulls, gets, and reports, each as a message of its own; a
node that hangs up has given back what it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections import deque
from dataclasses import asdict
from typing import Any, Callable, Protocol

from . import frames
from .coordinator import Coordinator, Given
from .ledger import Record

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_HELLO_S, _HELLO_BYTES = 10.0, 1024  # for who has not said yet that it belongs to the job


class Lost(Exception):
    """The first node is not there any more."""


class Link(Protocol):
    """A node's way to the coordinator."""

    async def pull(self) -> Given | None:
        """The next mini-batch, as soon as there is one; None: there will be none."""
        ...

    def done(self, record: Record, rows: bytes, header: bytes) -> None: ...

    def failed(self, record: Record) -> None: ...

    def back(self, number: int) -> None: ...

    def stuck(self, why: str) -> None: ...

    def say(self, worker: str, error: str, trace: str) -> None:
        """What went wrong in a worker, for those who read the job's logs."""
        ...

    async def over(self) -> str:
        """When it is over: why no more is to be done; empty: all of it is."""
        ...


class Desk:
    """The coordinator, for many who wait. `told`: what is to be done with what workers say of their errors."""

    def __init__(self, coordinator: Coordinator, told: Callable[[str, str, str], None]) -> None:
        self.coordinator, self._told = coordinator, told
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_over = asyncio.Event()
        self.look()

    def link(self, node: str) -> Link:
        return _Here(self, node)

    async def pull(self, node: str) -> Given | None:
        while not self.coordinator.is_over:
            found = self.coordinator.pull(node)
            if found:
                return found[0]
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        return None

    def report(self, node: str, message: dict[str, Any], payload: bytes) -> None:
        """What a node says of its mini-batches."""
        if "done" in message:
            self.coordinator.done(node, Record(**message["done"]), payload, message.get("header", "").encode())
        elif "failed" in message:
            self.coordinator.failed(node, Record(**message["failed"]))
        elif "back" in message:
            self.coordinator.back(node, int(message["back"]))
        elif "stuck" in message:
            self.coordinator.stuck(node, str(message["stuck"]))
        elif "say" in message:
            self.tell(*map(str, message["say"]))
        self.look()

    def tell(self, worker: str, error: str, trace: str) -> None:
        try:
            self._told(worker, error, trace)
        except OSError as problem:
            self.give_up(f"The job's logs cannot be written: {problem}")

    def give_up(self, why: str) -> None:
        self.coordinator.give_up(why)
        self.look()

    def gone(self, node: str) -> None:
        self.coordinator.gone(node)
        self.look()

    def look(self) -> None:
        """Something may have changed for those who wait."""
        if self.coordinator.is_over:
            self._is_over.set()
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    async def over(self) -> str:
        await self._is_over.wait()
        return self.coordinator.problem


class _Here:
    """The first node's own link."""

    def __init__(self, desk: Desk, node: str) -> None:
        self._desk, self._node = desk, node

    async def pull(self) -> Given | None:
        return await self._desk.pull(self._node)

    def done(self, record: Record, rows: bytes, header: bytes) -> None:
        self._desk.coordinator.done(self._node, record, rows, header)
        if self._desk.coordinator.is_over:
            self._desk.look()

    def failed(self, record: Record) -> None:
        self._desk.coordinator.failed(self._node, record)
        self._desk.look()

    def back(self, number: int) -> None:
        self._desk.coordinator.back(self._node, number)
        self._desk.look()

    def stuck(self, why: str) -> None:
        self._desk.coordinator.stuck(self._node, why)
        self._desk.look()

    def say(self, worker: str, error: str, trace: str) -> None:
        self._desk.tell(worker, error, trace)

    async def over(self) -> str:
        return await self._desk.over()


class Reception:
    """Where the other nodes call: a session for each, until it hangs up. `others`: how many nodes there are besides."""

    def __init__(self, desk: Desk, secret: str, others: int) -> None:
        self._desk, self._secret, self._others = desk, secret, others
        self._sessions: set[asyncio.Task[None]] = set()
        self._came: set[str] = set()
        self._all_came = asyncio.Event()

    async def open(self, meet: str) -> None:
        """Raises OSError where nobody can listen there."""
        host, _, port = meet.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=1 << 22)

    async def close(self, patience_s: float) -> None:
        """When the others have said what they have to say, or so long after the last of them came.

        A node that comes late has to hear that all is done; whoever ends one that does not come at all ends this one,
        too. Where the job has failed there is nothing to wait for.
        """
        if not self._desk.coordinator.problem:
            await self._all_came.wait()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=patience_s)
        self._server.close()
        for one in self._sessions:
            one.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            hello, _ = await asyncio.wait_for(frames.read(reader, _HELLO_BYTES), _HELLO_S)
            if hmac.compare_digest(str(hello.get("secret")).encode(), self._secret.encode()):
                self._came.add(node := f"node-{hello['rank']}")
                if len(self._came) == self._others:
                    self._all_came.set()
                await self._attend(node, reader, writer)
        except (frames.Closed, asyncio.TimeoutError, OSError, KeyError, TypeError):
            pass
        finally:
            self._sessions.discard(task)
            writer.close()

    async def _attend(self, node: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running: list[asyncio.Task[None]] = [asyncio.ensure_future(self._end(writer))]
        try:
            while True:
                message, payload = await frames.read(reader)
                if "pull" in message:
                    running = [one for one in running if not one.done()]
                    running.append(asyncio.ensure_future(self._give(node, writer)))
                else:
                    self._desk.report(node, message, payload)
        finally:
            for one in running:
                one.cancel()
            self._desk.gone(node)

    async def _give(self, node: str, writer: asyncio.StreamWriter) -> None:
        given = await self._desk.pull(node)
        if given is not None:
            writer.write(frames.pack({"given": given.number, "batch": given.batch, "tried": given.tried}))

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.pack({"over": await self._desk.over()}))


class Away:
    """The link of a node that is not the first."""

    def __init__(self, rank: int, meet: str, secret: str) -> None:
        self._rank, self._meet, self._secret = rank, meet, secret
        self._asked: deque[asyncio.Future[Given | None]] = deque()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """As soon as the first node listens."""
        host, _, port = self._meet.rpartition(":")
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                reader, self._writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=1 << 22)
                break
            except OSError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        self._send({"secret": self._secret, "rank": self._rank})
        self._reading = asyncio.ensure_future(self._read(reader))

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def pull(self) -> Given | None:
        if self._over.done():
            return None
        asked: asyncio.Future[Given | None] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._send({"pull": 1})
        return await asked

    def done(self, record: Record, rows: bytes, header: bytes) -> None:
        self._send({"done": asdict(record), "header": header.decode(errors="replace")}, rows)

    def failed(self, record: Record) -> None:
        self._send({"failed": asdict(record)})

    def back(self, number: int) -> None:
        self._send({"back": number})

    def stuck(self, why: str) -> None:
        self._send({"stuck": why})

    def say(self, worker: str, error: str, trace: str) -> None:
        self._send({"say": [worker, error, trace]})

    async def over(self) -> str:
        """Raises Lost."""
        return await asyncio.shield(self._over)

    def _send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        self._writer.write(frames.pack(message, payload))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message, _ = await frames.read(reader)
                if "over" in message:
                    self._end(str(message["over"]))
                elif self._asked:
                    given = Given(message["given"], message["batch"], message["tried"])
                    asked = self._asked.popleft()
                    if asked.done():
                        self.back(given.number)
                    else:
                        asked.set_result(given)
        except (frames.Closed, KeyError, TypeError):
            if not self._over.done():
                self._over.set_exception(Lost("The first node of the job hung up."))
                self._over.exception()  # whoever waits hears of it; nobody has to
            self._free()

    def _end(self, problem: str) -> None:
        if not self._over.done():
            self._over.set_result(problem)
        self._free()

    def _free(self) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_result(None)
