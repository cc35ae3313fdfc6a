"""Small documents of the platform, served to the task by its own agent: they can be had also while the platform is away.

The addresses are on loopback, at a port that the system chooses; nothing secret belongs into a document, for every user
of the machine can ask. It lives in the agent's selector and takes no thread: until somebody asks it is one open socket.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Mapping
from functools import partial

_MOST_CONNECTIONS = 64  # then the oldest is dropped
_MOST_BYTES = 65536  # of a request's head


class DocumentServer:
    """Answers GET and HEAD for `documents`: address at the platform → JSON, small enough for a socket's buffer.

    Raises OSError where there is no port.
    """

    def __init__(self, documents: Mapping[str, str], selector: selectors.BaseSelector) -> None:
        self._documents = {_path(url): text.encode() for url, text in documents.items()}
        self._selector = selector
        self._open: dict[socket.socket, bytes] = {}  # what each has asked so far
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_MOST_CONNECTIONS)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def address(self, url: str) -> str:
        """Where the document is that the platform has at `url`."""
        return f"http://127.0.0.1:{self._port}{_path(url)}"

    def close(self) -> None:
        for one in list(self._open):
            self._drop(one)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it hung up already
        if len(self._open) == _MOST_CONNECTIONS:
            self._drop(next(iter(self._open)))
        connection.setblocking(False)
        self._open[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, partial(self._read, connection))

    def _read(self, connection: socket.socket) -> None:
        if connection not in self._open:
            return  # dropped by what another event of the same round brought about
        try:
            data = connection.recv(8192)
            self._open[connection] += data
            head, end, _ = self._open[connection].partition(b"\r\n\r\n")
            if data and not end and len(head) <= _MOST_BYTES:
                return
            if end:
                connection.send(self._answer(head))
        except BlockingIOError:
            return
        except OSError:
            pass  # it hung up
        self._drop(connection)

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        if method not in (b"GET", b"HEAD"):
            return (
                b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        content = self._documents.get(path)
        if content is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        lines = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        return lines.encode() + (content if method == b"GET" else b"")

    def _drop(self, connection: socket.socket) -> None:
        del self._open[connection]
        self._selector.unregister(connection)
        connection.close()


def _path(url: str) -> str:
    """Of scheme://host:port/path."""
    return "/" + url.split("/", 3)[3]
