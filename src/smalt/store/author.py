"""On whose behalf this thread or task works: what it writes is recorded as theirs (`store/changes.py`).

Each request begins with an author of its own (`on_behalf`), whose name is filled in once it is known. Threads that a
request uses share it. Whatever no request asked for is the platform's own work.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

PLATFORM = "smalt"


@dataclass
class Author:
    """`answerable`: a person, or a client that a person made; not the platform, and not what runs on it."""

    name: str = ""
    request_id: str = ""
    answerable: bool = False


_platform = Author(PLATFORM)
_current: ContextVar[Author] = ContextVar("author", default=_platform)


def current() -> Author:
    return _current.get()


@contextmanager
def on_behalf(request_id: str) -> Generator[Author]:
    """Until the end, all is done for one request."""
    author = Author(request_id=request_id)
    token = _current.set(author)
    try:
        yield author
    finally:
        _current.reset(token)


def identified(name: str, answerable: bool) -> None:
    """The request at hand, if this is one, is made by `name`."""
    author = _current.get()
    if author is not _platform:
        author.name, author.answerable = name, answerable
