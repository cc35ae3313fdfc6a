"""Messages between the driver, its workers and the other nodes: a JSON object and some bytes, each with its length."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct("!II")
MOST_BYTES = 1 << 30  # of either part


class Closed(Exception):
    """The other side hung up, or said what is no message."""


def pack(message: dict[str, Any], payload: bytes = b"") -> bytes:
    text = json.dumps(message).encode()
    return _HEAD.pack(len(text), len(payload)) + text + payload


def receive(channel: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Waits for one. Raises Closed."""
    text, payload = _lengths(_exactly(channel, _HEAD.size))
    return _object(_exactly(channel, text)), _exactly(channel, payload)


async def read(reader: asyncio.StreamReader, most: int = MOST_BYTES) -> tuple[dict[str, Any], bytes]:
    """The same in the event loop. Raises Closed, also where a part is of more than `most` bytes."""
    try:
        text, payload = _lengths(await reader.readexactly(_HEAD.size), most)
        message = _object(await reader.readexactly(text))
        return message, await reader.readexactly(payload) if payload else b""
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Closed(str(error)) from error


def _lengths(head: bytes, most: int = MOST_BYTES) -> tuple[int, int]:
    text, payload = _HEAD.unpack(head)
    if text > most or payload > most:
        raise Closed(f"a message of {text + payload} bytes")
    return text, payload


def _object(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise Closed("no JSON") from error
    if not isinstance(message, dict):
        raise Closed("no JSON object")
    return message


def _exactly(channel: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        try:
            more = channel.recv(min(length - len(found), 1 << 20))
        except OSError as error:
            raise Closed(str(error)) from error
        if not more:
            raise Closed("it hung up")
        found += more
    return bytes(found)
