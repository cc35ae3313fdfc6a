"""The HTTP layer over a real socket pair's worth of loop: what goes in as bytes, what comes out as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable
from unittest.mock import MagicMock

import pytest

from smalt.agent.inject.bodies import PASSED_BYTES
from smalt.agent.inject.http1 import Connection, Request, Response, Site


def talk(*pieces: bytes, answer: Callable[[Request], Response] | None = None, max_body: int = 1000) -> bytes:
    """Sends the pieces one after the other, then a request that closes; returns what came back before its answer."""

    def echo(request: Request) -> Response:
        body = f"{request.method} {request.path} {request.query} ".encode() + request.body
        return Response(200, body, [("X-Seen", request.headers.get("x-own", "-"))])

    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        site = Site(loop, max_body)

        def handle(request: Request, connection: Connection) -> None:
            end = Response(200, b"END", [])
            loop.call_soon(connection.send, end if request.path == "/end" else (answer or echo)(request))

        def refuse(status: int, message: str) -> Response:
            return Response(status, message.encode(), [])

        theirs, ours = socket.socketpair()
        await loop.connect_accepted_socket(lambda: Connection(handle, refuse, site), ours)
        theirs.setblocking(False)
        reading = asyncio.ensure_future(read_all(theirs))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in (*pieces, b"GET /end HTTP/1.1\r\nConnection: close\r\n\r\n"):
                await loop.sock_sendall(theirs, piece)
                for _ in range(5):  # turns of the loop, in which the server reads the piece
                    await asyncio.sleep(0)
        got = await asyncio.wait_for(reading, 10)
        theirs.close()
        return got[: got.rindex(b"HTTP/1.1 200 OK")] if got.endswith(b"END") else got

    return asyncio.run(run())


async def read_all(one: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while more := await asyncio.get_running_loop().sock_recv(one, 65536):
            got += more
    return got


def statuses(data: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def test_a_request_is_answered_with_length_and_date() -> None:
    data = talk(b"POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-Own: v\r\nContent-Length: 3\r\n\r\nabc")
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"POST /a b x=1 abc"
    assert b"\r\nContent-Length: 17" in head
    assert b"\r\nX-Seen: v" in head
    assert b"\r\nDate: " in head


def test_every_cut_of_the_input_gives_the_same_answer() -> None:
    whole = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\n"
    expected = talk(whole).split(b"\r\n\r\n", 1)[1]
    assert expected == b"POST /x  abcde"
    for at in range(1, len(whole)):
        assert talk(whole[:at], whole[at:]).split(b"\r\n\r\n", 1)[1] == expected


def test_pipelined_requests_are_answered_in_order() -> None:
    one = b"POST /%d HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
    data = talk(b"".join(one % at for at in range(200)))
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in data.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"POST /%d  x" % at for at in range(200)]


def test_close_is_honoured_and_what_follows_is_not_read() -> None:
    data = talk(b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    assert statuses(data) == [200]
    assert b"\r\nConnection: close" in data
    assert statuses(talk(b"GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")) == [200]


def test_continue_is_sent_for_a_body_that_waits_for_it() -> None:
    data = talk(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert statuses(data) == [100, 200]


def test_head_and_204_have_no_body() -> None:
    assert talk(b"HEAD / HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
    data = talk(b"GET / HTTP/1.1\r\n\r\n", answer=lambda request: Response(204, b"none", []))
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in data


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PASSED_BYTES + 1), 413),
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (PASSED_BYTES + 1), 413),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_not_clearly_one_request_is_refused_and_ends_the_connection(data: bytes, status: int) -> None:
    got = talk(data, b"GET /smuggled HTTP/1.1\r\n\r\n")
    assert statuses(got) == [status]
    assert b"Connection: close" in got


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 2000", [b"x" * 900, b"x" * 900, b"x" * 200]),
        (b"Transfer-Encoding: chunked", [b"258\r\n" + b"x" * 600 + b"\r\n"] * 2 + [b"0\r\n", b"\r\n"]),
    ],
)
def test_a_body_that_is_too_large_is_read_past_and_then_refused(head: bytes, pieces: list[bytes]) -> None:
    asked, transport = list[Request](), MagicMock()

    async def run() -> None:
        site = Site(asyncio.get_running_loop(), 1000)
        one = Connection(lambda request, _: asked.append(request), lambda status, _: Response(status, b"", []), site)
        one.connection_made(transport)
        for piece in (b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n", *pieces[:-1]):
            one.data_received(piece)
        assert not transport.write.called
        one.data_received(pieces[-1] + b"GET /smuggled HTTP/1.1\r\n\r\n")

    asyncio.run(run())
    ((got,),) = (call.args for call in transport.write.call_args_list)
    assert statuses(got) == [413] and b"Connection: close" in got and not asked


def test_a_header_cannot_break_out_of_its_line() -> None:
    data = talk(b"GET / HTTP/1.1\r\n\r\n", answer=lambda request: Response(200, b"", [("A", "b\r\nSet-Cookie: x")]))
    assert b"\r\nSet-Cookie" not in data
    assert b"A: b  Set-Cookie: x" in data


def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 8192
    data = talk(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body), body, max_body=len(body))
    assert data.endswith(b"POST /  " + body)
