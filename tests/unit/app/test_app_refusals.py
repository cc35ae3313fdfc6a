"""A refusal waits for the end of a body that is within bounds: who sends all of it first then reads why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smalt.web import refusals
from smalt.web.refusals import after_the_body

PIECE = {"type": "http.request", "body": b"x" * 600, "more_body": True}
LAST = {**PIECE, "more_body": False}


def left(status: int, came: list[dict[str, Any]], headers: Any = (), reads: int = 0) -> int:
    """How many messages are not received when an answer of `status` begins, by an app that reads some of them."""
    waiting, seen = list(came), list[int]()

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        seen.append(len(waiting))

    async def answer() -> None:
        receiving, sending = after_the_body({"headers": list(headers)}, receive, send)
        for _ in range(reads):
            await receiving()
        await sending({"type": "http.response.start", "status": status})

    asyncio.run(answer())
    return seen[0]


def test_a_refusal_comes_after_the_body_and_an_answer_when_it_is_there() -> None:
    assert left(413, [PIECE, PIECE, LAST]) == 0
    assert left(413, [PIECE, LAST], reads=2) == 0
    assert left(401, [PIECE, {"type": "http.disconnect"}]) == 0
    assert left(200, [PIECE, LAST]) == 2


@pytest.mark.parametrize("length", [b"1001", b"9" * 30])
def test_it_does_not_wait_for_what_is_beyond_the_bound(monkeypatch: pytest.MonkeyPatch, length: bytes) -> None:
    monkeypatch.setattr(refusals, "PASSED_BYTES", 1000)
    assert left(413, [PIECE, LAST], [(b"content-length", length)]) == 2
    assert left(413, [PIECE, PIECE, PIECE, LAST]) == 2


def test_who_says_nothing_more_before_an_answer_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a client of a conversation does."""
    monkeypatch.setattr(refusals, "SILENT_S", 0.01)
    assert left(409, [PIECE]) == 0
