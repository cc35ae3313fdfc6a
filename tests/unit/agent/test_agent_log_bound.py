"""A task's log: nothing of what was said is lost with the agent that was about to write it down."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import pytest

from smalt.agent.journal import open_log
from smalt.agent.log_bound import BoundedLog, open_pipe, rescue
from smalt.agent.log_end import END_BYTES, LogEnd

MOST = 1 << 20
SAID = b"first\nlast words\n"


def _dies_after(calls: int) -> None:
    """This process is killed once so many calls of Python or the kernel have returned."""
    left = calls

    def count(_frame: FrameType, event: str, _called: object) -> None:
        nonlocal left
        if event in ("return", "c_return", "c_exception"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def _killed_after(calls: int, work: Callable[[], object]) -> bool:
    """Whether a process of its own was killed in `work`, or had done it before."""
    pid = os.fork()
    if pid == 0:
        try:
            _dies_after(calls)
            work()
            sys.setprofile(None)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _takes(reading: int, opener: Callable[[], int]) -> None:
    log = BoundedLog(reading, opener, MOST, LogEnd())
    log.open()
    log.due = 0
    log.tick()


def test_whenever_the_agent_is_killed_what_was_said_is_in_the_log_once(tmp_path: Path) -> None:
    calls, killed = 0, True
    while killed:
        calls += 1
        path = tmp_path / f"log{calls}"
        opener = partial(open_log, path)
        reading, writing = open_pipe()
        os.write(writing, SAID)
        killed = _killed_after(calls, partial(_takes, reading, opener))
        rescue(reading, opener, MOST, LogEnd())
        os.close(reading)
        os.close(writing)
        assert path.read_bytes() == SAID, f"killed after {calls} calls"
    assert calls > 20


def test_a_file_system_that_moves_nothing_by_itself_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "splice", _refuse(errno.EINVAL))
    reading, writing = open_pipe()
    log = BoundedLog(reading, partial(open_log, tmp_path / "log"), MOST, LogEnd())
    log.open()
    os.write(writing, SAID)
    os.close(writing)
    assert log.finish() == SAID.decode().rstrip()
    os.close(reading)
    assert (tmp_path / "log").read_bytes() == SAID


def test_what_the_disk_does_not_take_is_counted_and_holds_up_nobody(tmp_path: Path) -> None:
    """A limit of this process's files stands for a disk that is full for a while."""
    path, chunk = tmp_path / "log", b"x" * (256 << 10)
    reading, writing = open_pipe()
    log = BoundedLog(reading, partial(open_log, path), MOST * 2, LogEnd())
    log.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for _ in range(4):
            assert os.write(writing, chunk) == len(chunk)
            log.due = 0
            log.tick()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    os.write(writing, b"there is room again")
    os.close(writing)
    log.finish()
    os.close(reading)
    why = f"[smalt] {4 * len(chunk) - 4096} bytes are missing above: File too large."
    assert path.read_text() == "x" * 4096 + f"there is room again\n{why}\n"


def test_what_others_append_meanwhile_stays(tmp_path: Path) -> None:
    """The file lies where its job may write."""
    path = tmp_path / "log"
    reading, writing = open_pipe()
    log = BoundedLog(reading, partial(open_log, path), MOST, LogEnd())
    log.open()
    for said in (b"a\n", b"c\n"):
        os.write(writing, said)
        log.due = 0
        log.tick()
        with path.open("ab") as other:
            other.write(b"b\n")
    os.close(writing)
    log.finish()
    os.close(reading)
    assert path.read_bytes() == b"a\nb\nc\nb\n"


def test_a_rescue_of_nothing_makes_no_log(tmp_path: Path) -> None:
    reading, writing = open_pipe()
    os.close(writing)
    rescue(reading, partial(open_log, tmp_path / "log"), MOST, LogEnd())
    os.close(reading)
    assert not (tmp_path / "log").exists()


def test_the_end_of_a_log_over_its_bound_outlives_its_agent(tmp_path: Path) -> None:
    end, opener, most = LogEnd(), partial(open_log, tmp_path / "log"), 100
    lines = [b"%09d\n" % number for number in range(20_000)]
    reading, writing = open_pipe()
    pid = os.fork()
    if pid == 0:
        log = BoundedLog(reading, opener, most, end)
        log.open()
        for begin in range(0, 18_000, 1000):
            os.write(writing, b"".join(lines[begin : begin + 1000]))
            log.due = 0
            log.tick()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    os.write(writing, b"".join(lines[18_000:]))
    os.close(writing)
    rescue(reading, opener, most, end)
    os.close(reading)
    missing = 200_000 - most - END_BYTES
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(b"".join(lines[:10]) + b"\n[smalt] This log holds 100 bytes, its bound.")
    last_lines = b"".join(lines)[-END_BYTES:]
    assert b"[smalt] ...\n" + last_lines + b"[smalt] %d bytes are missing above: " % missing in kept
    assert kept.endswith(b"belongs into one (a job's below outputs/).\n")
    assert not end.dropped, "a log that has its end gets no second one"


def _refuse(number: int) -> Callable[..., int]:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse
