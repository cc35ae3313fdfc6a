"""What the holder answers an Envoy, byte by byte, and how its requests are read."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from smalt.cli.port_holder import answer_to, command


def framed(*message: int, text: bytes = b"") -> bytes:
    body = bytes(message) + text
    return struct.pack(">Q", len(body)) + body


ADDRESS = b"tcp://127.0.0.1:7443"
ASKS_FOR_A_SOCKET = framed(0x0A, 26, 0x0A, 24, 0x0A, 20, text=ADDRESS + b"\x10\x01")  # and a worker's number behind it


def test_a_socket_that_it_has_goes_with_the_answer() -> None:
    with socket.socket() as held:
        answer, passed = answer_to(ASKS_FOR_A_SOCKET, {ADDRESS.decode(): held})
        assert passed == held.fileno()
        number = held.fileno()
        varint = (number,) if number < 128 else (number & 127 | 128, number >> 7)
        assert answer == framed(0x12, 3 + len(varint), 0x0A, 1 + len(varint), 0x08, *varint)


def test_one_that_it_has_not_is_minus_one() -> None:
    answer, passed = answer_to(ASKS_FOR_A_SOCKET, {})
    assert passed is None
    assert answer == framed(0x12, 13, 0x0A, 11, 0x08, *[0xFF] * 9, 0x01)


@pytest.mark.parametrize("kind", [2, 3])
def test_what_wants_an_answer_gets_an_empty_one(kind: int) -> None:
    assert answer_to(framed(0x0A, 2, kind << 3 | 2, 0), {}) == (framed(0x12, 2, kind << 3 | 2, 0), None)


@pytest.mark.parametrize(
    "message", [framed(0x0A, 2, 0x22, 0), framed(0x0A, 2, 0x2A, 0), b"", b"\0" * 8, framed(0xFF, 0xFF)]
)
def test_the_rest_gets_none(message: bytes) -> None:
    assert answer_to(message, {}) == (b"", None)


def test_the_command_keeps_envoys_own_behind_it() -> None:

    made = command(Path("/r/run"), 7443, ["127.0.0.1", "::1"], "11.104", ["/bin/envoy", "--config-path", "x"])
    assert made[-3:] == ["/bin/envoy", "--config-path", "x"] and "127.0.0.1,::1" in made
