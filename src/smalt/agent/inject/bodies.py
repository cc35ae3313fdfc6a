"""Bodies of HTTP/1.1 requests: how long they are, in chunks, and too large.

What is too large is read past before it is refused: a client that sends all of it before it reads an answer, as
Python's requests does, would else be cut off by the gateway, which reads nothing behind an early answer.
"""

from __future__ import annotations

import re

PASSED_BYTES = 1 << 30  # of what is too large: more is refused as soon as that is known
LINE_BYTES = 64 * 1024  # of a chunk's size, or of a trailer


class BadRequest(Exception):
    """What arrived is not HTTP that we accept; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def too_large(most: int) -> BadRequest:
    return BadRequest(413, f"The body is larger than the {most} bytes that are allowed.")


def body_length(headers: dict[str, str]) -> int:
    """The length of the body in bytes; -1 where it is chunked. Raises BadRequest."""
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise BadRequest(400, "Content-Length and Transfer-Encoding exclude each other.")
        if coding.lower() != "chunked":
            raise BadRequest(501, f"The transfer encoding {coding!r} is not supported.")
        return -1
    if length is None:
        return 0
    if not length.isascii() or not length.isdigit():
        raise BadRequest(400, "Content-Length is not a number.")
    return int(length)


class ChunkedBody:
    """Takes a chunked body out of a buffer, piece by piece."""

    def __init__(self, max_bytes: int) -> None:
        self.data = bytearray()
        self._max_bytes = max_bytes
        self._size = 0  # of all chunks that have begun
        self._left = 0  # of the current chunk, with its CRLF
        self._trailers = False

    def feed(self, buffer: bytearray) -> bool:
        """Consumes from the front of `buffer`; True when the body is complete.

        Raises BadRequest: 413 only at the end of what is too large, but for what is far too large.
        """
        while True:
            if self._left > 2:
                piece = buffer[: self._left - 2]
                if self._size <= self._max_bytes:
                    self.data += piece
                del buffer[: len(piece)]
                self._left -= len(piece)
                if self._left > 2:
                    return False
            if self._left == 2:
                if len(buffer) < 2:
                    return False
                if buffer[:2] != b"\r\n":
                    raise BadRequest(400, "A chunk is longer than it says.")
                del buffer[:2]
                self._left = 0
            end = buffer.find(b"\r\n")
            if end < 0:
                if len(buffer) > LINE_BYTES:
                    raise BadRequest(400, "A chunk's size line is too long.")
                return False
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if not self._trailers:
                self._begin(line)
            elif not line:
                if self._size > self._max_bytes:
                    raise too_large(self._max_bytes)
                return True

    def _begin(self, line: bytes) -> None:
        digits = line.split(b";", 1)[0].strip()
        if not re.match(rb"[0-9a-fA-F]{1,15}\Z", digits):
            raise BadRequest(400, "A chunk's size is not a hexadecimal number.")
        size = int(digits, 16)
        self._size += size
        if self._size > self._max_bytes:
            self.data = bytearray()
        if self._size > max(self._max_bytes, PASSED_BYTES):
            raise too_large(self._max_bytes)
        self._trailers = size == 0
        self._left = 0 if self._trailers else size + 2
