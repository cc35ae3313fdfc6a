"""The lines that are collected, and the files they are in."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject import collecting as module
from smalt.agent.inject.collected import SERVE
from smalt.agent.inject.collecting import AS_SENT, INPUT_ROWS, ONE_LINE, Item, Writer, receive, send
from smalt.agent.inject.outcome import JSON
from smalt.agent.inject.records import records_line
from smalt.agent.inject.tabular import Table

NAMES = ("request", "model_inputs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def writer(folder: Path) -> Writer:
    return Writer(config(folder))


def config(folder: Path, **more: Any) -> dict[str, Any]:
    collections = {name: {"folder": str(folder / name), "url": f"https://x/{name}"} for name in NAMES}
    return {"collections": collections, "instance": "srv-1", "source": "/me", **more}


def files(folder: Path, name: str) -> list[Path]:
    return sorted(one for one in (folder / name).rglob("*") if one.is_file())


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for one in files(folder, name) if one.suffix for line in one.read_text().splitlines()]


def item(content: bytes, what: int = AS_SENT, name: str = "model_inputs", media: str = JSON) -> Item:
    return (name, what, content, media, "id", 0.5, {"agent": "me/1"})


def test_a_line_is_azures_and_is_in_the_file_of_its_hour(writer: Writer, folder: Path) -> None:
    assert writer.write([item(b'[{"a":\n1.50}]')]) == ([], "")
    (one,) = lines(folder, "model_inputs")
    assert (one.pop("id"), one) != ("", {}) and one == {
        "specversion": "1.0",
        "source": "/me",
        "type": "azureml.inference.model_inputs",
        "datacontenttype": JSON,
        "time": "1970-01-01T00:00:00Z",
        "data": [{"a": 1.5}],
        "agent": "me/1",
        "contentrange": "bytes 0-12/13",
        "correlationid": "id",
        "xrequestid": "id",
    }
    (path,) = files(folder, "model_inputs")
    parts = path.relative_to(folder / "model_inputs").parts
    assert [len(one) for one in parts[:-1]] == [4, 2, 2, 2] and parts[-1] == "srv-1.jsonl"


@pytest.mark.parametrize(("rolling", "depth"), [("year", 1), ("day", 3), ("minute", 5)])
def test_files_roll_as_asked(folder: Path, rolling: str, depth: int) -> None:
    Writer(config(folder, rolling=rolling)).write([item(b"[]")])
    (path,) = files(folder, "model_inputs")
    assert len(path.relative_to(folder / "model_inputs").parts) == depth + 1


@pytest.mark.parametrize(
    ("body", "data"), [(b"plain", "plain"), (b"{no json", "{no json"), (b"[NaN]", "[NaN]"), ("ü".encode(), "ü")]
)
def test_what_is_no_json_is_text(writer: Writer, folder: Path, body: bytes, data: str) -> None:
    writer.write([item(body)])
    assert lines(folder, "model_inputs")[0]["data"] == data


@pytest.mark.parametrize("body", [b"\xff\x00binary", b"[" + b"1," * 2_200_000 + b"1]"], ids=["binary", "large"])
def test_what_is_binary_or_large_is_a_file_of_its_own(writer: Writer, folder: Path, body: bytes) -> None:
    writer.write([item(body, name="request", media="image/png; x")])
    (line,) = lines(folder, "request")
    assert line["datainblob"] == "true" and line["data"].startswith("https://x/request/")
    assert (folder / "request" / line["data"].removeprefix("https://x/request/")).read_bytes() == body
    assert line["datacontenttype"] == "image/png"


def test_a_large_file_goes_on_in_another(writer: Writer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 500)
    for at in range(6):
        writer.write([item(b"[%d]" % at)])
    assert [one.name for one in files(folder, "model_inputs")] == ["srv-1-1.jsonl", "srv-1-2.jsonl", "srv-1.jsonl"]
    assert sorted(one["data"][0] for one in lines(folder, "model_inputs")) == list(range(6))


def test_a_full_disk_loses_whole_lines(writer: Writer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write([item(b"[1]")])
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:100])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert writer.write([item(b"[2]")]) == ([0], "No space left on device")
    assert writer.write([item(b"[3]")]) == ([], "")
    assert [one["data"] for one in lines(folder, "model_inputs")] == [[1], [3]]


def test_lines_are_written_before_many_are_made(writer: Writer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be many times as large as what came."""
    monkeypatch.setattr(module, "WRITE_BYTES", 1000)
    append, sizes = module.Collection.append, list[int]()

    def appended(self: module.Collection, content: bytes, period: str, instance: str) -> None:
        append(self, content, period, instance)
        sizes.append(len(content))

    monkeypatch.setattr(module.Collection, "append", appended)
    assert writer.write([item(b"[1]", ONE_LINE)] * 20) == ([], "")
    assert len(sizes) > 3 and max(sizes) < 1500 and len(lines(folder, "model_inputs")) == 20


def test_what_cannot_be_a_line_does_not_stop_the_others(folder: Path) -> None:
    writer = Writer(config(folder, records={"columns": [["a", "long", True]], "outputs": []}))
    bad, good = b'{"input_data": {"columns": ["b"], "data": [[1]]}}', b'{"input_data": [[5]]}'
    lost, why = writer.write([item(bad, INPUT_ROWS), item(good, INPUT_ROWS)])
    assert lost == [0] and "column is missing in the request: 'a'" in why
    assert [one["data"] for one in lines(folder, "model_inputs")] == [[{"a": 5}]]


def test_the_process_writes_until_its_socket_ends(folder: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen([sys.executable, "-I", "-S", str(SERVE), "--collect"], stdin=theirs.fileno())
        send(ours, config(folder))
        send(ours, [item(b"[1]")])
        assert receive(ours) == ([], "")
        process.send_signal(signal.SIGTERM)
        send(ours, [item(b"[2]")])
        assert receive(ours) == ([], "")
        ours.shutdown(socket.SHUT_RDWR)
        assert process.wait(10) == 0
    assert [one["data"] for one in lines(folder, "model_inputs")] == [[1], [2]]


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
