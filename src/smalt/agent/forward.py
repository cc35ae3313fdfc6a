"""The one way out of a task's own network: connections to the platform's port, carried by the agent outside.

The listeners were made inside and handed out, so whoever connects to them is inside; what the agent connects to is the
platform and nothing else. All of it lives in the agent's selector and takes no thread.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
from collections.abc import Callable
from functools import partial

_MOST_BYTES = 256 << 10  # that wait for one side
_MOST_CONNECTIONS = 512


class Forwarder:
    """Carries each connection of `listeners` to `target`, a host and a port of this machine."""

    def __init__(
        self, listeners: list[socket.socket], target: tuple[str, int], selector: selectors.BaseSelector
    ) -> None:
        self._selector = selector
        self._target = target
        self._count = 0
        self._listeners = listeners
        for one in listeners:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ, partial(self._accept, one))

    def close(self) -> None:
        for one in self._listeners:
            self._selector.unregister(one)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            inside, _ = listener.accept()
        except OSError:
            return  # it hung up already
        if self._count >= _MOST_CONNECTIONS:
            inside.close()
            return
        outside = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for one in (inside, outside):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if outside.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            inside.close()
            outside.close()
            return
        self._count += 1
        _Pair(inside, outside, self._selector, self._ended)

    def _ended(self) -> None:
        self._count -= 1


class _Pair:
    """Two sockets of one connection: what comes from either goes to the other, with its end."""

    def __init__(
        self, inside: socket.socket, outside: socket.socket, selector: selectors.BaseSelector, ended: Callable[[], None]
    ) -> None:
        self._selector = selector
        self._ended = ended
        self._other = {inside: outside, outside: inside}
        self._waiting = {inside: bytearray(), outside: bytearray()}  # for each, what is to be sent to it
        self._open = {inside, outside}  # from which more may come
        self._watched: set[socket.socket] = set()
        self._connected = {inside}
        self._watch(inside)
        self._watch(outside)

    def _watch(self, one: socket.socket) -> None:
        """Read while the other side takes it, write while something waits, or until it is connected."""
        events = 0
        if one in self._open and one in self._connected and len(self._waiting[self._other[one]]) < _MOST_BYTES:
            events |= selectors.EVENT_READ
        if self._waiting[one] or one not in self._connected:
            events |= selectors.EVENT_WRITE
        if one in self._watched and not events:
            self._selector.unregister(one)
            self._watched.discard(one)
        elif events and one in self._watched:
            self._selector.modify(one, events, partial(self._go_on, one))
        elif events:
            self._selector.register(one, events, partial(self._go_on, one))
            self._watched.add(one)

    def _go_on(self, one: socket.socket) -> None:
        if one not in self._watched:
            return  # closed by what another event of the same round brought about
        try:
            self._send(one)
            self._receive(one)
        except OSError:
            self._close()
            return
        if not self._open and not any(self._waiting.values()):
            self._close()
            return
        for each in self._other:
            self._watch(each)

    def _send(self, one: socket.socket) -> None:
        if one not in self._connected:
            problem = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, "the platform does not answer")
            self._connected.add(one)
        waiting = self._waiting[one]
        if waiting:
            with contextlib.suppress(BlockingIOError):
                del waiting[: one.send(waiting)]
        if not waiting and self._other[one] not in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_WR)

    def _receive(self, one: socket.socket) -> None:
        other = self._other[one]
        if one not in self._open or len(self._waiting[other]) >= _MOST_BYTES:
            return
        try:
            data = one.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._open.discard(one)
        self._waiting[other] += data
        if other in self._connected:
            self._send(other)

    def _close(self) -> None:
        for one in self._other:
            if one in self._watched:
                self._selector.unregister(one)
            one.close()
        self._watched.clear()
        self._ended()
