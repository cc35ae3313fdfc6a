"""What a deployment collects: the lines, where they are, and what happens when they cannot be written."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject import collected as module
from smalt.agent.inject import receiver
from smalt.agent.inject.collected import Collected
from smalt.agent.inject.http1 import Request
from smalt.agent.inject.outcome import JSON, Outcome
from smalt.agent.inject.records import records_line
from smalt.agent.inject.tabular import Table

NAMES = ("request", "response", "model_inputs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def collected(folder: Path) -> Iterator[Collected]:
    one = make(folder)
    yield one
    one.close()


def make(folder: Path, rate: float = 1.0, **more: Any) -> Collected:
    collections = {name: {"folder": str(folder / name), "url": f"https://x/{name}", "rate": rate} for name in NAMES}
    config = {"collections": collections, "instance": "srv-1", "source": "/me", "headers": ["X-Team"], **more}
    return Collected(config, logging.getLogger("smalt.test.collected"))


def files(folder: Path, name: str) -> list[Path]:
    return sorted(one for one in (folder / name).rglob("*") if one.is_file())


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for one in files(folder, name) if one.suffix for line in one.read_text().splitlines()]


def put(collected: Collected, content: bytes, **more: Any) -> None:
    assert collected.add("model_inputs", lambda: collected.line("model_inputs", content, JSON, "id", 0), 1, **more)


def exchange(body: bytes, answer: bytes, media: str = JSON) -> tuple[Request, Outcome]:
    request = Request("POST", "/score?size=1", {"content-type": media, "x-team": "risk", "x-other": "1"}, True)
    request.body, request.id = body, "corr"
    return request, Outcome(200, answer, [("Content-Type", JSON)])


def test_a_line_is_azures_and_is_in_the_file_of_its_hour(collected: Collected, folder: Path) -> None:
    put(collected, b'[{"a":\n1.50}]')
    collected.close()
    (one,) = lines(folder, "model_inputs")
    assert (one.pop("id"), one) != ("", {}) and one == {
        "specversion": "1.0", "source": "/me", "type": "azureml.inference.model_inputs",
        "datacontenttype": JSON, "time": "1970-01-01T00:00:00Z", "data": [{"a": 1.5}],
        "contentrange": "bytes 0-12/13", "correlationid": "id", "xrequestid": "id",
    }  # fmt: skip
    (path,) = files(folder, "model_inputs")
    parts = path.relative_to(folder / "model_inputs").parts
    assert [len(one) for one in parts[:-1]] == [4, 2, 2, 2] and parts[-1] == "srv-1.jsonl"


@pytest.mark.parametrize(("rolling", "depth"), [("year", 1), ("day", 3), ("minute", 5)])
def test_files_roll_as_asked(folder: Path, rolling: str, depth: int) -> None:
    collected = make(folder, rolling=rolling)
    put(collected, b"[]")
    collected.close()
    (path,) = files(folder, "model_inputs")
    assert len(path.relative_to(folder / "model_inputs").parts) == depth + 1


def test_a_request_and_its_answer_are_joined_by_the_requests_id(collected: Collected, folder: Path) -> None:
    collected.exchange(*exchange(b'{"rows": [1]}', b"[0.5]"), chance=0.5)
    collected.close()
    (asked,), (answered,) = lines(folder, "request"), lines(folder, "response")
    assert asked["correlationid"] == answered["correlationid"] == asked["xrequestid"] == "corr"
    assert (asked["data"], asked["path"], asked["method"]) == ({"rows": [1]}, "/score?size=1", "POST")
    assert asked["headers"] == {"x-team": "risk"} and answered["data"] == [0.5]


@pytest.mark.parametrize(
    ("body", "data"), [(b"plain", "plain"), (b"{no json", "{no json"), (b"[NaN]", "[NaN]"), ("ü".encode(), "ü")]
)
def test_what_is_no_json_is_text(collected: Collected, folder: Path, body: bytes, data: str) -> None:
    collected.exchange(*exchange(body, b"1"), chance=0)
    collected.close()
    assert lines(folder, "request")[0]["data"] == data


@pytest.mark.parametrize("body", [b"\xff\x00binary", b"[" + b"1," * 2_200_000 + b"1]"], ids=["binary", "large"])
def test_what_is_binary_or_large_is_a_file_of_its_own(collected: Collected, folder: Path, body: bytes) -> None:
    collected.exchange(*exchange(body, b"1", "image/png"), chance=0)
    collected.close()
    (line,) = lines(folder, "request")
    assert line["datainblob"] == "true" and line["data"].startswith("https://x/request/")
    assert (folder / "request" / line["data"].removeprefix("https://x/request/")).read_bytes() == body


def test_a_sample_keeps_pairs(folder: Path) -> None:
    collected = make(folder, rate=0.25)
    for at in range(100):
        collected.exchange(*exchange(b"%d" % at, b"%d" % at), chance=at / 100)
    collected.close()
    assert [one["data"] for one in lines(folder, "request")] == list(range(25))
    assert [one["data"] for one in lines(folder, "response")] == list(range(25))


def test_a_large_file_goes_on_in_another(collected: Collected, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 500)
    for at in range(6):
        written = threading.Event()
        put(collected, b"[%d]" % at, done=lambda ok, written=written: written.set() if ok else None)
        assert written.wait(5)
    collected.close()
    assert [one.name for one in files(folder, "model_inputs")] == ["srv-1-1.jsonl", "srv-1-2.jsonl", "srv-1.jsonl"]
    assert sorted(one["data"][0] for one in lines(folder, "model_inputs")) == list(range(6))


def test_a_full_disk_loses_whole_lines_and_says_how_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collected, told = make(folder), list[bool]()
    ended = threading.Event()
    put(collected, b"[1]", done=lambda ok: (told.append(ok), ended.set()))
    assert ended.wait(5)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:100])

    monkeypatch.setattr(os, "write", full)
    ended.clear()
    put(collected, b"[2]", done=lambda ok: (told.append(ok), ended.set()))
    assert ended.wait(5)
    monkeypatch.undo()
    put(collected, b"[3]")
    collected.close()
    assert told == [True, False] and [one["data"] for one in lines(folder, "model_inputs")] == [[1], [3]]
    assert (collected.written, collected.lost) == (2, 1)
    assert "1 line(s) until now: No space left on device" in caplog.text
    assert "smalt_inference_collected_lost_total 1" in collected.metrics()


def test_what_waits_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    collected, held, begun = make(folder), threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        held.wait(10)
        return b"{}\n"

    assert collected.add("model_inputs", slow, 900)
    assert begun.wait(5)
    assert not collected.add("model_inputs", lambda: b"{}\n", 900, wait_s=0.01) and collected.lost == 1
    held.set()
    assert collected.add("model_inputs", lambda: b"{}\n", 900, wait_s=5), "there is room again"
    collected.close()
    assert len(lines(folder, "model_inputs")) == 2


def test_lines_are_written_before_many_are_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be many times as large as what waits."""
    monkeypatch.setattr(module, "WRITE_BYTES", 250)
    append, held = module.Collection.append, threading.Event()
    unwritten, most = [0], [0]

    def line() -> bytes:
        held.wait(10)
        unwritten[0] += 100
        most[0] = max(most[0], unwritten[0])
        return b"1" * 99 + b"\n"

    def written(self: module.Collection, content: bytes, period: str, instance: str) -> None:
        append(self, content, period, instance)
        unwritten[0] -= len(content)

    monkeypatch.setattr(module.Collection, "append", written)
    collected = make(folder)
    for _ in range(10):
        assert collected.add("model_inputs", line, 1)
    held.set()
    collected.close()
    assert most[0] == 300 and unwritten[0] == 0 and collected.written == 10 == len(lines(folder, "model_inputs"))


def test_what_cannot_be_a_line_does_not_stop_the_others(collected: Collected, folder: Path) -> None:
    assert collected.add("model_inputs", lambda: bytes([1 // 0]), 1)
    put(collected, b"[1]")
    collected.close()
    assert len(lines(folder, "model_inputs")) == 1 and collected.lost == 1


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        (Table(("a", "b"), [[1, "x"], [2, None]]), (), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (Table(None, [[1, 2]]), ("a", "b"), [{"a": 1, "b": 2}]),
        ([0.5, float("nan")], (), [{"0": 0.5}, {"0": None}]),
        ([0, 1], ("churned",), [{"churned": 0}, {"churned": 1}]),
        ([[0.1, 0.9]], (), [{"0": 0.1, "1": 0.9}]),
        ([{"label": "a", "p": 1.0}], (), [{"label": "a", "p": 1.0}]),
        ({"x": [1, 2], "y": [3, 4]}, (), [{"x": 1, "y": 3}, {"x": 2, "y": 4}]),
        ({"x": [1], "y": 3}, (), [{"x": [1], "y": 3}]),
        ("text", (), [{"0": "text"}]),
    ],
)
def test_rows_are_records_as_a_frame_writes_them(value: Any, names: tuple[str, ...], expected: Any) -> None:
    assert json.loads(records_line(value, names)) == expected


def test_a_socket_of_another_user_is_told_from_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, me = tmp_path / "tcp", os.getuid()
    sockets = [
        ("0200007F:9C40", "0200007F:2328", me + 1),  # the same ports between other addresses
        ("0100007F:9C40", "0100007F:2328", me), ("0100007F:9C41", "0100007F:2328", me + 1),
        ("0200007F:9C43", "0200007F:2328", me), ("0100007F:2328", "0100007F:9C40", me),
    ]  # fmt: skip
    rows = [f" {at}: {end} {other} 01 0:0 00:0 0 {uid} 0 1" for at, (end, other, uid) in enumerate(sockets)]
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n" + "\n".join(rows)
    )
    monkeypatch.setattr(receiver, "_SOCKETS", table)
    here = ("127.0.0.1", 9000)
    asked = [receiver._is_ours(("127.0.0.1", port), here) for port in range(40000, 40004)]
    assert asked == [True, False, False, False] and not receiver._is_ours(None, here)


@pytest.fixture
def receiving(folder: Path) -> Iterator[tuple[str, int]]:
    """Where a receiver listens."""
    loop, one = asyncio.new_event_loop(), make(folder)
    made = receiver.Receiver(one, loop, logging.getLogger("smalt.test.receiver"))
    loop.run_until_complete(loop.create_server(made.connection, sock=made.socket))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield made.socket.getsockname()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    one.close()


POST = b"POST /modeldata/log HTTP/1.1\r\nHost: x\r\nce-type: azureml.inference.request\r\nContent-Length: %d\r\n\r\n"


def test_what_is_ours_is_written_when_it_is_answered(receiving: tuple[str, int], folder: Path) -> None:
    with socket.create_connection(receiving, timeout=10) as one:
        one.sendall(POST % 2 + b"[]")
        assert one.recv(99).startswith(b"HTTP/1.1 200")
    assert len(lines(folder, "request")) == 1


def test_a_stranger_is_turned_away_before_it_has_said_anything(
    receiving: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tcp").write_text("nobody's\n")
    monkeypatch.setattr(receiver, "_SOCKETS", tmp_path / "tcp")
    with socket.create_connection(receiving, timeout=10) as one:
        assert one.recv(99).startswith(b"HTTP/1.1 403")


def test_there_are_no_more_callers_than_so_many(receiving: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_CALLERS", 1)
    with socket.create_connection(receiving, timeout=10) as first:
        with socket.create_connection(receiving, timeout=10) as second, suppress(ConnectionResetError):
            assert second.recv(1) == b""
        first.sendall(POST % 2 + b"[]")
        assert first.recv(99).startswith(b"HTTP/1.1 200")
