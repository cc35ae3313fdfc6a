"""Tables: what is found out of bytes without types, what a column is said to be, and that the parser can open nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from smalt.studio.tables.profile import described, profiled
from smalt.studio.tables.reading import COLUMNS_MOST, ROWS_MOST, SAMPLE_BYTES, Read, Unreadable, Wanted, read
from smalt.studio.tables.runner import NoTable, table

SHUT = """
import os, socket
from smalt.studio.tables.__main__ import _shut
_shut()
for one in (lambda: open("/etc/passwd"), socket.socket, lambda: os.listdir("/"), lambda: os.open("x", os.O_CREAT)):
    try:
        one()
    except OSError:
        continue
    print("opened")
"""


def of(data: bytes, format_: str = "csv", **more: Any) -> Any:
    return read(Wanted(format_, len(data), **more), lambda start, length: data[start : start + length])


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "^", "~", ":", " "])
def test_the_delimiter_is_found(mark: str) -> None:
    found = of(f"name{mark}n\n'a'{mark}1\nbb{mark}2\n".encode())
    assert found.columns == ["name", "n"] and found.rows == [["'a'", "1"], ["bb", "2"]] and found.whole


def test_a_delimiter_within_quotes_and_a_comma_of_decimals_mislead_nobody() -> None:
    assert of(b'a;b\n"1;2";3,5\n"x\ny";4,5\n').rows == [["1;2", "3,5"], ["x\ny", "4,5"]]
    assert of(b"one column\nof words here\n").columns == ["one column"]
    assert of(b"a;b\n1;2\n", delimiter=",").columns == ["a;b"]


@pytest.mark.parametrize(
    ("data", "columns"), [(b"1,2\n3,4\n", ["column 1", "column 2"]), (b"a,\n1,2\n", ["column 1", "column 2"])]
)
def test_a_file_without_header_has_columns(data: bytes, columns: list[str]) -> None:
    found = of(data)
    assert found.columns == columns and len(found.rows) == 2
    assert len(of(data, header=True).rows) == 1 and len(of(b"a,b\n", header=False).rows) == 1


def test_rows_of_other_lengths_are_said_and_kept() -> None:
    found = of(b"a,b\n1\n1,2,3\n")
    assert found.columns == ["a", "b", "column 3"] and found.rows == [["1", None, None], ["1", "2", "3"]]
    assert "another number of fields" in found.notes[0]


def test_a_sample_ends_between_lines_and_between_characters() -> None:
    found = of(b"a,b\n" + "ü,1\n".encode() * (SAMPLE_BYTES // 5 + 10))
    assert not found.whole and len(found.rows) == ROWS_MOST and found.notes == []
    long = of(b"a\n" + "ü".encode() * SAMPLE_BYTES)
    assert not long.whole, "one line that is longer than what is read"


def test_encodings_are_read_and_unknown_ones_said() -> None:
    assert of("a\nü\n".encode("utf-16")).rows == [["ü"]] and of(
        "a\nü\n".encode("latin-1"), encoding="latin-1"
    ).rows == [["ü"]]
    assert of("a\nü\n".encode(), encoding="klingon").notes and of("\ufeffa\n1\n".encode()).columns == ["a"]


def test_json_lines_that_are_none_are_refused() -> None:
    with pytest.raises(Unreadable):
        of(b"no\n", "jsonl")
    with pytest.raises(Unreadable):
        of(b"[" * 100_000, "jsonl")
    assert of(b"1\n", "jsonl").columns == ["value"] and of(b"", "jsonl").rows == []


@pytest.mark.parametrize(
    ("values", "type_", "low", "high"),
    [
        (["1", "2", ""], "integer", "1", "2"), (["1.5", "nan"], "number", "1.5", "1.5"), (["007", "8"], "text", "007", "8"),
        (["true", "False"], "boolean", "False", "true"), (["2024-01-02", "2023-01-01"], "time", "2023-01-01", "2024-01-02"),
        (["NA", ""], "empty", None, None), (["1e400", "2"], "number", "2", "2"),
    ],
)  # fmt: skip
def test_a_column_of_text_is_what_it_looks_like(
    values: list[str], type_: str, low: str | None, high: str | None
) -> None:
    found = profiled(values, is_text=True)
    assert (found["type"], found.get("min"), found.get("max")) == (type_, low, high)


def test_a_histogram_counts_each_row_once() -> None:
    found = profiled([float(n) for n in range(100)] + [None])
    assert sum(found["bins"]) == 100 and found["missing"] == 1 and found["mean"] == "49.5"
    assert profiled([1e308, -1e308])["type"] == "integer", "a range that no float can hold"
    assert described(of(b""), "csv")["columns"] == []


def test_what_parses_can_open_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SHUT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_process_that_is_too_slow_or_dies_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(start: int, length: int) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr("smalt.studio.tables.runner.TIME_MOST_S", 0.5)
    with pytest.raises(NoTable, match="longer"):
        asyncio.run(table(Wanted("csv", 10), never))
    monkeypatch.undo()
    with pytest.raises(NoTable, match="cannot be read"):
        asyncio.run(table(Wanted("no such format", 10), never))
    monkeypatch.setattr("sys.executable", "/bin/true")
    with pytest.raises(NoTable, match="ended"):
        asyncio.run(table(Wanted("csv", 10), never))


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b"a,b\n1,2\n" * 2000 + b"," * 200_000 + b"\n", "csv"),
        (b"{}\n" * 4000 + b"{%s}\n" % b",".join(b'"n%d":1' % n for n in range(20_000)), "jsonl"),
    ],
)
def test_rows_are_no_wider_than_what_is_shown(data: bytes, format_: str) -> None:
    tracemalloc.start()
    try:
        found = of(data, format_)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100 << 20, f"{most >> 20} MiB of a file of {len(data) >> 10} KiB"
    assert {len(row) for row in found.rows} == {COLUMNS_MOST} == {len(found.columns)}
    assert any("more columns are not shown" in one for one in found.notes)


def test_what_a_process_says_that_is_no_answer_is_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def reads(start: int, length: int) -> bytes:
        return b""

    monkeypatch.setattr("smalt.studio.tables.runner._LINE_MOST", 1 << 10)
    for said in ("x" * 4096, "x", '{"read": [0, -1]}'):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(program))
        with pytest.raises(NoTable):
            asyncio.run(table(Wanted("csv", 10), reads))
    types = ["struct<" + "a" * 1000]
    assert len(described(Read(["a"], [[1]], types), "parquet")["columns"][0]["type"]) == 200
