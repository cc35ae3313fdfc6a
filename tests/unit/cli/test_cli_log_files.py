"""Logs stay below a limit while somebody writes to them."""

from __future__ import annotations

import os
from pathlib import Path

from smalt.cli.log_files import LogFile


def test_a_large_log_is_put_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "envoy.log", limit_bytes=10)
    writer = log.open()
    os.write(writer, b"more than ten bytes\n")
    assert log.trim()
    os.write(writer, b"after\n")
    os.close(writer)
    assert (tmp_path / "envoy.log").read_bytes() == b"after\n"
    assert (tmp_path / "envoy.log.1").read_bytes() == b"more than ten bytes\n"
    assert (tmp_path / "envoy.log.1").stat().st_mode & 0o777 == 0o600


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "envoy.log", limit_bytes=10)
    (tmp_path / "envoy.log").write_text("short\n")
    assert not log.trim()
    assert (tmp_path / "envoy.log").read_text() == "short\n"
    assert not LogFile(tmp_path / "missing.log").trim()


def test_three_earlier_logs_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "server.log")
    for number in range(6):
        log.begin()
        (tmp_path / "server.log").write_text(f"start {number}\n")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "server.log": "start 5\n",
        "server.log.1": "start 4\n",
        "server.log.2": "start 3\n",
        "server.log.3": "start 2\n",
    }


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mlflow.log")
    assert log.tail() == ""
    (tmp_path / "mlflow.log").write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert log.tail(2) == "line 9998\nline 9999"
