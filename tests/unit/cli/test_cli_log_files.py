"""Logs stay below a limit while somebody writes to them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from smalt.cli.log_files import AGE_S, LogFile


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


def test_three_earlier_logs_are_kept_for_a_month(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "server.log", limit_bytes=5)
    for number in range(6):
        (tmp_path / "server.log").write_text(f"part {number}\n")
        assert log.trim()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "server.log": "",
        "server.log.1": "part 5\n",
        "server.log.2": "part 4\n",
        "server.log.3": "part 3\n",
    }
    long_ago = time.time() - AGE_S - 60
    os.utime(tmp_path / "server.log.3", (long_ago, long_ago))
    assert not log.trim()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "server.log.1", "server.log.2"]


def test_what_was_said_before_outlives_any_number_of_starts_and_is_not_in_the_tail(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "server.log")
    (tmp_path / "server.log").write_text("Traceback: the crash\n")
    for number in range(20):
        log.begin()
        with (tmp_path / "server.log").open("a") as file:
            file.write(f"start {number}\n")
    assert (tmp_path / "server.log").read_text().startswith("Traceback: the crash\n--- smalt up, ")
    assert [path.name for path in tmp_path.iterdir()] == ["server.log"]
    assert log.tail() == "start 19"
    log.begin()
    assert log.tail() == ""


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mlflow.log")
    assert log.tail() == ""
    (tmp_path / "mlflow.log").write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert log.tail(2) == "line 9998\nline 9999"
