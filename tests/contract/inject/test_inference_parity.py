"""What is unusual in scripts and in requests, at Azure's own inference server and at ours."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Pair, Running, pair_of  # pyright: ignore

SCRIPT = """
import asyncio, base64, collections, dataclasses, datetime, decimal, json, threading
from azureml.contrib.services.aml_response import AMLResponse

Point = collections.namedtuple("Point", "x y")

@dataclasses.dataclass
class Own:
    a: int = 1

def init():
    global count
    count = 0

def run(data):
    asked = json.loads(data) if data.startswith("{") else {"length": len(data), "begin": data[:20]}
    do = asked.get("do")
    if do == "tuple":
        return Point(1, (2, 3))
    if do == "keys":
        return {1: "a", None: "b", True: "c", 2.5: "d"}
    if do == "nested key":
        return {(1, 2): "a"}
    if do == "own":
        return Own()
    if do == "decimal":
        return decimal.Decimal("1.5")
    if do == "bytes":
        return b"abc"
    if do == "generator":
        return (one for one in [1, 2])
    if do == "coroutine":
        async def later():
            return 1
        return asyncio.sleep(0) if asked.get("sleep") else later()
    if do == "loop":
        return asyncio.run(asyncio.sleep(0.001, "slept"))
    if do == "lone surrogate":
        return "\\ud800"
    if do == "cycle":
        found = []
        found.append(found)
        return found
    if do == "assert":
        assert False, "no"
    if do == "keyboard":
        raise KeyError("k")
    if do == "flask":
        import flask
        return flask.Response("own", 201, {"X-Own": "1"}, mimetype="text/csv")
    if do == "status text":
        return AMLResponse("made", "202 Own")
    if do == "headers list":
        return AMLResponse("x", 200, [("X-A", "1"), ("X-A", "2")])
    if do == "json text":
        return AMLResponse({"a": 1}, 200, {}, True)
    return asked
"""


@pytest.fixture(scope="module")
def pair(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    yield from pair_of(serving_python, tmp_path_factory.mktemp("edges"), SCRIPT)


@pytest.mark.parametrize(
    "do",
    ["tuple", "keys", "loop", "lone surrogate", "assert", "keyboard", "flask", "status text", "headers list", "json text"],
)  # fmt: skip
def test_what_scripts_return_and_raise(pair: Pair, do: str) -> None:
    pair.post({"do": do})


def fails_alike(pair: Pair, asked: dict) -> None:
    """For Azure's server it is its own failure, for ours the script's: only the status and one header differ."""
    expected, got = pair.reference.post(asked), pair.ours.post(asked)
    assert (expected.status, got.status, got.body) == (500, 424, expected.body)


@pytest.mark.parametrize("do", ["nested key", "own", "decimal", "bytes", "generator", "cycle"])
def test_what_is_no_json_is_a_failure(pair: Pair, do: str) -> None:
    fails_alike(pair, {"do": do})


def test_coroutines_are_finished_which_azures_server_does_not(pair: Pair) -> None:
    assert pair.reference.post({"do": "coroutine"}).status == 500
    assert pair.ours.post({"do": "coroutine"}).json() == 1
    assert pair.ours.post({"do": "coroutine", "sleep": True}).json() == {}


@pytest.mark.parametrize(
    "media",
    ["", "application/json", "text/plain", "text/plain; charset=latin-1", "application/octet-stream", "*/*", "x", "a/b/c",
     "application/x-www-form-urlencoded", "application/json; charset=utf-16", "multipart/form-data"],
)  # fmt: skip
@pytest.mark.parametrize("body", [b'{"a": "\xc3\xbc"}', b""])
def test_types_and_bodies(pair: Pair, media: str, body: bytes) -> None:
    pair.same("POST", "/score", body, {"Content-Type": media} if media else {})


def test_a_large_body_and_one_that_is_packed(pair: Pair) -> None:
    expected, _ = pair.same("POST", "/score", b"x" * 3_000_000, {"Content-Type": "text/plain"})
    assert expected.json()["length"] == 3_000_000
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    expected, got = pair.same("POST", "/score", gzip.compress(b'{"a": 1}'), headers)
    assert (expected.status, got.status) == (400, 400)


@pytest.mark.parametrize(
    "path",
    [
        "/score?",
        "/score?a=1&b",
        "/score#x",
        "//score",
        "/SCORE",
        "/score%20",
        "/%73core",
        "/score/x",
        "/swagger.json?version=",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_paths(pair: Pair, method: str, path: str) -> None:
    pair.same(method, path, b"{}" if method == "POST" else None, {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-id": "a" * 100},
        {"x-request-id": "a" * 101},
        {"x-ms-client-request-id": "ü".encode().decode("latin-1")},
        {"x-request-id": "same", "x-ms-request-id": "same"},
        {"x-ms-request-id": " spaced "},
        {"traceid": "t"},
        {"Accept": "text/html", "Accept-Encoding": "gzip"},
        {"If-None-Match": "*"},
        {"Range": "bytes=0-1"},
        {"Expect": "100-continue"},
        {"X-HTTP-Method-Override": "PUT"},
    ],
)
def test_headers(pair: Pair, headers: dict[str, str]) -> None:
    pair.same("POST", "/score", b'{"a": 1}', {"Content-Type": "application/json", **headers})


def spoken(running: Running, said: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer to what is said on one connection, until the server closes it."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(said)
        answers: list[tuple[int, bytes]] = []
        file = connection.makefile("rb")
        while line := file.readline():
            length = 0
            while (header := file.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.append((int(line.split()[1]), file.read(length)))
        return answers


JSON = b"Content-Type: application/json\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
START = b"POST /score HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + JSON


@pytest.mark.parametrize(
    "said",
    [
        START + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4;x=y\r\n: 1}\r\n0\r\nTrailer: t\r\n\r\n',
        START + b'Content-Length: 8\r\n\r\n{"a": 1}' + LAST,
        b"POST /score HTTP/1.0\r\n" + JSON + b'Content-Length: 8\r\n\r\n{"a": 1}',
        b"POST http://a/score HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        + JSON
        + b'Content-Length: 8\r\n\r\n{"a": 1}',
        LAST.replace(b"GET", b"OPTIONS"),
    ],
    ids=["chunked", "one after the last", "1.0", "absolute", "options"],
)
def test_forms_of_a_request(pair: Pair, said: bytes) -> None:
    expected, got = spoken(pair.reference, said), spoken(pair.ours, said)
    assert got == expected and expected[0][0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n", b"Content-Length: 5_0\r\n", b"Content-Length: -1\r\n", b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: xchunked\r\n",
        b"X: a\r\n folded\r\nContent-Length: 5\r\n", b"X\x00: a\r\n", b"X: a\x00\r\n", b": empty\r\n",
    ],
)  # fmt: skip
def test_what_two_servers_could_read_differently_is_never_passed_on(pair: Pair, head: bytes) -> None:
    """A request in a request's body must not be answered: the answer would be another client's."""
    hidden = b"0\r\n\r\nGET /swagger.json HTTP/1.1\r\nHost: a\r\n\r\n"
    said = b"POST /score HTTP/1.1\r\nHost: a\r\n" + JSON + head + b"\r\n" + hidden
    answers = spoken(pair.ours, said)
    assert len(answers) == 1 and answers[0][0] in (400, 501), answers
    assert json.loads(answers[0][1])["message"]
