"""Unix sockets that only this user can reach: to listen on, and for single words.

Standard library only: any process may import it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_WORD_MOST = 100


def listen(path: Path, backlog: int) -> socket.socket:
    """A listening socket at `path`, 0600 from its first moment on, whatever an earlier process left there."""
    listener = _bound(path, socket.SOCK_STREAM)
    listener.listen(backlog)
    return listener


def listen_for_words(path: Path) -> socket.socket:
    """A socket, as private, for what `say` sends; it does not block."""
    channel = _bound(path, socket.SOCK_DGRAM)
    channel.setblocking(False)
    return channel


def say(path: Path, word: str) -> None:
    """Never waits; lost where nobody listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.sendto(word.encode(), str(path))


def words(channel: socket.socket) -> Iterator[str]:
    """All that was said since the last time."""
    while True:
        try:
            yield channel.recv(_WORD_MOST).decode(errors="replace")
        except BlockingIOError:
            return


def _bound(path: Path, kind: socket.SocketKind) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, kind)
    os.fchmod(bound.fileno(), 0o600)  # the file gets what the socket has: unix_bind_bsd, net/unix/af_unix.c
    bound.bind(str(path))
    return bound
