"""Server-sent events: an answer that goes on. https://html.spec.whatwg.org/multipage/server-sent-events.html

A stream waits in the event loop, without a thread, until the hub tells that something changed; then it reads a page and
sends it. It reads no further page before the connection has taken the last one, so a slow reader keeps nothing in
memory. It ends with its reader, with the server, when its reader may not read any more, and when a reader takes nothing
for a minute; whoever comes back says which event was the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from smalt.arm.errors import ArmError
from smalt.arm.hub import Hub
from smalt.store.document import Document

RETRY_MS = 1000  # when a reader whose stream broke off comes back
_LATER = {"Retry-After": "10"}


@dataclass(frozen=True)
class StreamPace:
    """`most` streams of all readers, `most_of_one` of each; a comment when nothing comes; when a reader is given up."""

    most: int = 512
    most_of_one: int = 128  # one person may be a team that shares a login
    heartbeat_s: float = 15.0
    stalled_s: float = 60.0


@dataclass(frozen=True)
class Sent:
    """Events with their ids, the id behind all of them, whether there are more already; when the newest happened."""

    events: Sequence[tuple[str, Document]]
    cursor: str
    more: bool
    newest_at: float = 0.0


class EventStream(Response):
    """The events of `first`, then those that `read` gives behind a cursor, whenever something of `key` changes.

    `check` raises ArmError when the reader may read no longer.
    """

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(
        self,
        hub: Hub,
        key: str,
        first: Sent,
        read: Callable[[str], Awaitable[Sent]],
        check: Callable[[], Awaitable[None]],
        pace: StreamPace,
        ended: Callable[[], None],
        heard: Callable[[float], None],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._hub, self._key = hub, key
        self._first, self._read, self._check = first, read, check
        self._pace, self._ended, self._heard = pace, ended, heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_there(receive, self._write(send))
        finally:
            self._ended()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with contextlib.suppress(TimeoutError):  # what is not taken is not waited for
            await self._send(send, f"retry: {RETRY_MS}\n\n".encode())
            with contextlib.suppress(ArmError, SQLAlchemyError):  # he may not any more; or comes back when it is there
                await self._events(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self, send: Send) -> None:
        with self._hub.subscribe(self._key, below=True) as subscription:
            sent, clock = self._first, asyncio.get_running_loop().time
            checked_at, waited = clock(), False
            await self._put(send, sent)
            while not self._hub.closing:
                sent = await self._read(sent.cursor)
                await self._put(send, sent)
                if waited and sent.events:
                    self._heard(sent.newest_at)
                quiet = not sent.more and not await subscription.changed(self._pace.heartbeat_s)
                waited = not sent.more
                if quiet or clock() - checked_at >= self._pace.heartbeat_s:
                    await self._check()
                    checked_at = clock()
                if quiet:
                    await self._send(send, f": \nid: {sent.cursor}\n\n".encode())

    async def _put(self, send: Send, sent: Sent) -> None:
        if sent.events:
            await self._send(send, b"".join(_event(id_, document) for id_, document in sent.events))

    async def _send(self, send: Send, body: bytes) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": True}
        async with asyncio.timeout(self._pace.stalled_s):  # `wait_for` may lose a cancellation
            await send(message)


class Streams:
    """How many are open, of each reader and in all.

    `heard` is told when the newest change of a page happened, where a reader waited for it: it has it now.
    """

    def __init__(
        self, hub: Hub, pace: StreamPace | None = None, heard: Callable[[float], None] = lambda newest_at: None
    ) -> None:
        self._hub, self._heard = hub, heard
        self._pace = pace or StreamPace()
        self._open: Counter[str] = Counter()

    def open(
        self,
        reader: str,
        key: str,
        first: Sent,
        read: Callable[[str], Awaitable[Sent]],
        check: Callable[[], Awaitable[None]],
    ) -> EventStream:
        """In the event loop. Raises ArmError: 429 where `reader` has too many, 503 where all have, or at the end."""
        if self._open[reader] >= self._pace.most_of_one:
            message = f"You have {self._open[reader]} streams of changes open, and no more are given: close one first."
            raise ArmError(429, "TooManyStreams", message, headers=_LATER)
        if self.number >= self._pace.most or self._hub.closing:
            message = f"{self.number} streams of changes are open, and no more are given now; try again later."
            raise ArmError(503, "ServerBusy", message, headers=_LATER)
        self._open[reader] += 1
        return EventStream(self._hub, key, first, read, check, self._pace, partial(self._close, reader), self._heard)

    def _close(self, reader: str) -> None:
        self._open[reader] -= 1
        if not self._open[reader]:
            del self._open[reader]

    @property
    def number(self) -> int:
        return self._open.total()


async def while_there(receive: Receive, write: Coroutine[Any, Any, None]) -> None:
    """`write`, to its end or until the client has gone."""
    tasks = {asyncio.ensure_future(_left(receive)), asyncio.ensure_future(write)}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(id_: str, document: Document) -> bytes:
    return f"id: {id_}\ndata: {json.dumps(document)}\n\n".encode()
