"""Answers that are sent while they are made: the pieces of a generator, as chunks of one body.

The thread that scores makes a piece, hands it to the thread that answers, and makes the next one when the client has
taken it: so a slow client holds one piece and what its socket buffers. A client that has left ends the generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Callable, Generator

from .outcome import Outcome

if TYPE_CHECKING:
    from .workers import Job

LOOK_S = 0.25  # how late the end of a thread's time may be seen while its client reads nothing


def send(
    job: Job, outcome: Outcome, pieces: Generator[bytes, None, None], loop: asyncio.AbstractEventLoop, keep: bool
) -> None:
    """Sends `pieces`; `job.begin` sends the head, `job.more` a piece, both in the loop's thread. With `keep` they are
    `outcome.body` in the end. Raises what the pieces raise."""
    kept: list[bytes] = []
    loop.call_soon_threadsafe(job.begin, outcome)
    with contextlib.closing(pieces):
        for piece in pieces:
            if piece:
                _hand_over(job, piece, loop)
            if job.answered:
                return
            if keep:
                kept.append(piece)
    outcome.body = b"".join(kept)


def _hand_over(job: Job, piece: bytes, loop: asyncio.AbstractEventLoop) -> None:
    taken = threading.Event()
    told: Callable[[], None] = taken.set
    loop.call_soon_threadsafe(job.more, piece, told)
    while not taken.wait(LOOK_S):
        pass
