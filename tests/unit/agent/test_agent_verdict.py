"""What is said of a task's limits, and of a command that met one."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from smalt.agent.bounds import Ending
from smalt.agent.limits import Cgroups
from smalt.agent.rlimits import rlimits
from smalt.agent.verdict import judge, limits_of
from smalt.agent.wire import Limits, Outcome, TaskSpec, WallsSpec

MORE = "Its VM size is S (x); a larger one has more."
GIB = 2**30
LIMITS = Limits(cpu_weight=200, memory_bytes=7 * GIB, disk_bytes=14 * GIB, shm_bytes=2 * GIB, more=MORE)
TASK = TaskSpec("t", "/o", command="python x.py", limits=LIMITS, walls=WallsSpec(user=61_999))
NONE = Cgroups([])
ENDED = Ending(Outcome.EXITED)


@pytest.fixture
def counted(tmp_path: Path) -> Cgroups:
    """Groups that bound memory and processes."""
    for name in ("memory.max", "pids.max"):
        (tmp_path / name).write_text("1")
    return Cgroups([tmp_path])


def said(last: str, code: int = 1, spec: TaskSpec = TASK) -> str:
    outcome, error = judge(spec, ENDED, code, last, NONE)
    assert outcome is Outcome.EXITED and last in error
    return error


def test_the_limits_are_one_line(counted: Cgroups) -> None:
    files = rlimits(TASK, processes_counted=True)[resource.RLIMIT_NOFILE][0]
    assert limits_of(TASK, counted) == (
        "limits: CPU weight 200, memory 7.0 GiB, disk 14.0 GiB, /dev/shm 2.0 GiB, 8192 processes and threads,"
        f" {files} open files a process, log 256 MiB"
    )
    line = limits_of(TASK, NONE)
    assert "memory 7.0 GiB (the agent looks)" in line and "threads of the whole workspace" in line
    bare = limits_of(TaskSpec("t", "/o"), NONE)
    assert bare == f"limits: CPU weight 100, {files} open files a process, log 256 MiB"


def test_success_meets_no_limit() -> None:
    assert judge(TASK, ENDED, 0, "OSError: [Errno 24] Too many open files", NONE) == (Outcome.EXITED, "")


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        ("OSError: [Errno 24] Too many open files: 'x'", 1, ["files open (RLIMIT_NOFILE)"]),
        ("RuntimeError: can't start new thread", 1, ["The tasks of its workspace may have 8192 processes and threads"]),
        ("OSError: [Errno 27] File too large", 1, ["larger than its node's disk (14.0 GiB)", MORE]),
        ("writing", -signal.SIGXFSZ, ["larger than its node's disk (14.0 GiB)"]),
        ("Bus error (core dumped)", 135, ["/dev/shm, which holds 2.0 GiB", "shm_size"]),
        ("OSError: [Errno 28] No space left on device", 1, ["the disk, or /dev/shm, which holds 2.0 GiB", "shm_size"]),
    ],
)
def test_a_limit_that_a_command_met_is_named(last: str, code: int, words: list[str]) -> None:
    error = said(last, code)
    for one in words:
        assert one in error


def test_what_does_not_bound_a_task_is_not_named() -> None:
    open_ = replace(TASK, walls=None, limits=Limits())
    for last in ("RuntimeError: can't start new thread", "OSError: [Errno 27] File too large", "Bus error"):
        assert said(last, spec=open_).endswith(f"Error: {last}")


@pytest.mark.parametrize(
    ("hard", "words"),
    [
        (65_536, "The platform has no more itself: start it with a higher hard limit"),
        (100_000, "`ulimit -n` in its command gets it up to 100000."),
        (resource.RLIM_INFINITY, "`ulimit -n` in its command gets it more."),
    ],
)
def test_how_to_get_more_open_files(hard: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert f"A process may have 65536 files open (RLIMIT_NOFILE). {words}" in said("Too many open files")


def test_in_the_open_only_a_disk_can_be_full() -> None:
    assert "The disk that it wrote to is full" in said("No space left on device", spec=replace(TASK, walls=None))


def test_what_ended_a_task_comes_with_its_last_lines() -> None:
    ending = Ending(Outcome.OUT_OF_DISK, "full")
    assert judge(TASK, ending, 137, "epoch 3", NONE) == (Outcome.OUT_OF_DISK, "full\nepoch 3")
    assert judge(TASK, Ending(Outcome.STOPPED, "stopped"), 143, "x", NONE) == (Outcome.STOPPED, "stopped")


def test_the_kernel_is_told() -> None:
    bounds = rlimits(TASK, processes_counted=False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert bounds[resource.RLIMIT_NOFILE] == (65_536 if hard == -1 else min(65_536, hard), hard)
    assert bounds[resource.RLIMIT_CORE][0] <= 1
    assert bounds[resource.RLIMIT_FSIZE] == (14 * GIB, 14 * GIB)
    assert bounds[resource.RLIMIT_NPROC] == (8192, 8192)


@pytest.mark.parametrize(
    ("spec", "counted"),
    [(TASK, True), (replace(TASK, walls=None), False), (replace(TASK, walls=WallsSpec()), False)],
)
def test_processes_are_not_counted_twice_nor_together_with_others(spec: TaskSpec, counted: bool) -> None:
    assert resource.RLIMIT_NPROC not in rlimits(spec, counted)
