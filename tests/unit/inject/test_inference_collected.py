"""What a deployment collects: what is handed over, the process that writes it, and what is counted when it cannot be."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject import collected as module
from smalt.agent.inject import receiver
from smalt.agent.inject.collected import Collected, Process
from smalt.agent.inject.collecting import AS_SENT, Answer, Item
from smalt.agent.inject.http1 import Request
from smalt.agent.inject.outcome import JSON, Outcome

NAMES = ("request", "response", "model_inputs", "model_outputs")


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


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    found = sorted((folder / name).rglob("*.jsonl"))
    return [json.loads(line) for one in found for line in one.read_text().splitlines()]


def item(content: bytes) -> Item:
    return ("model_inputs", AS_SENT, content, JSON, "id", 0.0, {})


def written(collected: Collected, content: bytes) -> bool:
    """Whether it was, once that is known."""
    told = queue.SimpleQueue[bool]()
    assert collected.add([item(content)], done=told.put)
    return told.get(timeout=10)


def exchange(body: bytes, answer: bytes) -> tuple[Request, Outcome]:
    request = Request("POST", "/score?size=1", {"content-type": JSON, "x-team": "risk", "x-other": "1"}, True)
    request.body, request.id = body, "corr"
    return request, Outcome(200, answer, [("Content-Type", JSON)])


def test_a_request_and_its_answer_are_joined_by_the_requests_id(collected: Collected, folder: Path) -> None:
    collected.exchange(*exchange(b'{"rows": [1]}', b"[0.5]"), chance=0.5)
    collected.close()
    (asked,), (answered,) = lines(folder, "request"), lines(folder, "response")
    assert asked["correlationid"] == answered["correlationid"] == asked["xrequestid"] == "corr"
    assert (asked["data"], asked["path"], asked["method"]) == ({"rows": [1]}, "/score?size=1", "POST")
    assert asked["headers"] == {"x-team": "risk"} and answered["data"] == [0.5]
    assert not lines(folder, "model_inputs"), "it is no model without code"


def test_a_model_without_code_collects_its_rows(collected: Collected, folder: Path) -> None:
    collected.know_rows({"columns": [["a", "long", True], ["b", "string", True]], "outputs": ["late"]})
    asked = b'{"input_data": {"columns": ["b", "a"], "data": [["x", 1], [null, 2]]}}'
    collected.exchange(*exchange(asked, b"[0.5, NaN]"), chance=0)
    collected.close()
    (inputs,), (outputs,) = lines(folder, "model_inputs"), lines(folder, "model_outputs")
    assert inputs["data"] == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert outputs["data"] == [{"late": 0.5}, {"late": None}]
    assert inputs["correlationid"] == "corr" and inputs["collectdatatype"] == "pandas.core.frame.DataFrame"


def test_a_sample_keeps_pairs(folder: Path) -> None:
    collected = make(folder, rate=0.25)
    for at in range(100):
        collected.exchange(*exchange(b"%d" % at, b"%d" % at), chance=at / 100)
    collected.close()
    assert [one["data"] for one in lines(folder, "request")] == list(range(25))
    assert [one["data"] for one in lines(folder, "response")] == list(range(25))


def test_what_cannot_be_written_is_counted_and_said(
    collected: Collected, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert written(collected, b"[1]")
    (file,) = (folder / "model_inputs").rglob("*.jsonl")
    (folder / "model_outputs").write_text("no folder")
    full = collected.add([("model_outputs", AS_SENT, b"[1]", JSON, "id", 0.0, {})])
    assert full and written(collected, b"[2]")
    collected.close()
    assert (collected.written, collected.lost) == (2, 1) and len(file.read_text().splitlines()) == 2
    assert "1 line(s) until now: Not a directory" in caplog.text
    said = 'smalt_inference_collected_lost_total{type="model_outputs",reason="WriteFailed"} 1'
    assert said in collected.metrics()


def test_another_process_goes_on_where_one_was_killed(
    collected: Collected, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert written(collected, b"[1]")
    process = collected._process._process
    assert process is not None
    os.kill(process.pid, signal.SIGTERM)
    assert written(collected, b"[2]"), "it ends when its parent says so"
    process.kill()
    process.wait()
    assert not written(collected, b"[3]") and written(collected, b"[4]")
    collected.close()
    assert [one["data"] for one in lines(folder, "model_inputs")] == [[1], [2], [4]] and collected.lost == 1
    assert "1 line(s) until now: the process that writes them failed" in caplog.text


class Slow(Process):
    """Writes nothing, and not before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may, self.batches = threading.Event(), threading.Event(), list[int]()

    def write(self, config: Any, items: Sequence[Item]) -> Answer:
        self.begun.set()
        assert self.may.wait(10)
        self.batches.append(len(items))
        return [], ""


def test_what_waits_is_bounded(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2 * module.LINE_BYTES)
    collected._process = slow = Slow()
    assert collected.add([item(b"[%s]" % (b"1" * 400))])
    assert slow.begun.wait(5)
    assert not collected.add([item(b"[%s]" % (b"2" * 400))], wait_s=0.01) and collected.lost == 1
    slow.may.set()
    assert collected.add([item(b"3")], wait_s=5), "there is room again"
    collected.close()
    assert slow.batches == [1, 1] and collected.written == 2


def test_what_is_not_written_in_time_at_the_end_is_counted_and_said(
    collected: Collected, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    collected._process = slow = Slow()
    told = queue.SimpleQueue[bool]()
    assert collected.add([item(b"1"), item(b"2")], done=told.put) and slow.begun.wait(5)
    assert collected.add([item(b"3")], done=told.put)
    collected.close()
    collected.close()
    assert (collected.written, collected.lost) == (0, 3) and told.get(timeout=5) is False
    assert "3 line(s) until now: they were not written in 0.01 s at the end" in caplog.text
    assert not collected.add([item(b"4")]) and collected.lost == 4
    slow.may.set()
    assert told.get(timeout=5) is True
    collected._thread.join(5)
    assert (collected.written, collected.lost) == (0, 4) and not collected._thread.is_alive() and slow.batches == [2]


def test_what_comes_after_the_end_is_counted(collected: Collected) -> None:
    collected.close()
    assert not collected.add([item(b"1")]) and collected.lost == 1


def test_batches_are_bounded(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 3 * module.LINE_BYTES)
    collected._process = slow = Slow()
    for _ in range(10):
        collected.add([item(b"1")])
    slow.may.set()
    collected.close()
    assert sum(slow.batches) == 10 and max(slow.batches) <= 3


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
