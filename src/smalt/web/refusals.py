"""Refusals of requests whose body is not read yet.

Envoy reads nothing behind an answer that comes before the body's end, and then closes: who sends all of a large body
before reading an answer, as Python's requests does, sees a broken connection and no reason. So a refusal waits until
the rest was read past. A client that sends nothing more until it has read an answer gets it after a moment.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Message, Receive, Scope, Send

PASSED_BYTES = 256 << 20  # so much of a body is read past; behind more the connection breaks
SILENT_S = 5.0  # for the next piece


def after_the_body(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """`receive` and `send` with which an answer of 400 and above waits for the end of the request's body."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    whole = len(length) > 18 or (length.isdigit() and int(length) > PASSED_BYTES)  # too much, or all has come

    async def receiving() -> Message:
        nonlocal whole
        message = await receive()
        whole = whole or message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def sending(message: Message) -> None:
        passed = 0
        if message["type"] == "http.response.start" and message["status"] >= 400:
            with contextlib.suppress(TimeoutError):
                while not whole and passed <= PASSED_BYTES:
                    async with asyncio.timeout(SILENT_S):
                        passed += len((await receiving()).get("body", b""))
        await send(message)

    return receiving, sending
