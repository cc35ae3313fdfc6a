"""A task's memory without cgroups: what is added up of a `/proc` made of files, and when the task is over."""

from __future__ import annotations

import os
import time
from pathlib import Path

from smalt.agent.bounds import Ending
from smalt.agent.memory import MemoryBound, too_much_memory
from smalt.agent.wire import Limits, Outcome

MIB = 2**20
LIMITS = Limits(memory_bytes=100 * MIB, more="Its VM size is S (x); a larger one has more.")


def process(proc: Path, pid: int, resident: int, proportional: int | None = None) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    pages = resident // os.sysconf("SC_PAGE_SIZE")
    (proc / str(pid) / "statm").write_text(f"{pages * 2} {pages} 0 0 0 0 0\n")
    if proportional is not None:
        text = f"5ff-7ff ---p 0 00:00 0 [rollup]\nRss: {resident >> 10} kB\nPss: {proportional >> 10} kB\n"
        (proc / str(pid) / "smaps_rollup").write_text(text)


def looks(bound: MemoryBound, times: int) -> Ending | None:
    for _ in range(times):
        bound.due = 0.0
        ending = bound.look()
    return ending


def test_all_processes_count_together(tmp_path: Path) -> None:
    bound = MemoryBound(LIMITS, lambda: [1, 2, 3], tmp_path)  # 3 is gone
    process(tmp_path, 1, 60 * MIB)
    process(tmp_path, 2, 40 * MIB)
    assert looks(bound, 2) is None
    process(tmp_path, 2, 41 * MIB)
    ending = looks(bound, 2)
    assert ending and ending.outcome is Outcome.OUT_OF_MEMORY
    assert ending.reason == (
        "The command needed more memory than its node has (100 MiB) and was killed."
        " Its VM size is S (x); a larger one has more."
    )


def test_what_processes_share_counts_once(tmp_path: Path) -> None:
    for pid in (1, 2):
        process(tmp_path, pid, 90 * MIB, 45 * MIB)
    bound = MemoryBound(LIMITS, lambda: [1, 2], tmp_path)
    assert looks(bound, 2) is None
    process(tmp_path, 3, 11 * MIB)  # its proportional size may not be read: the resident one counts
    bound = MemoryBound(LIMITS, lambda: [1, 2, 3], tmp_path)
    assert looks(bound, 2) is not None


def test_one_look_is_not_enough(tmp_path: Path) -> None:
    """While it is taken a process may end, and its shares are counted for it and again for the others."""
    process(tmp_path, 1, 101 * MIB)
    bound = MemoryBound(LIMITS, lambda: [1], tmp_path)
    assert looks(bound, 1) is None
    assert bound.due - time.monotonic() <= 0.1
    process(tmp_path, 1, 99 * MIB)
    assert looks(bound, 1) is None
    process(tmp_path, 1, 101 * MIB)
    assert looks(bound, 1) is None
    assert looks(bound, 1) is not None


def test_it_looks_once_a_second_and_sooner_near_the_limit(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=4 << 30)
    process(tmp_path, 1, MIB)
    far = MemoryBound(limits, lambda: [1], tmp_path)
    before = time.monotonic()
    far.look()
    assert before + 0.9 < far.due <= time.monotonic() + 1.0
    assert far.look() is None  # and not again before
    process(tmp_path, 1, (4 << 30) - 300 * MIB)
    near = MemoryBound(limits, lambda: [1], tmp_path)
    before = time.monotonic()
    near.look()
    assert before + 0.1 < near.due < time.monotonic() + 0.5


def test_a_look_that_takes_long_is_a_hundredth_of_the_time(tmp_path: Path) -> None:
    def slow() -> list[int]:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass
        return []

    bound = MemoryBound(LIMITS, slow, tmp_path)
    before = time.monotonic()
    bound.look()
    assert bound.due - before > 2.5


def test_the_words_say_what_helps() -> None:
    assert too_much_memory(Limits(memory_bytes=7 << 30, memory_is_all=True, more="no")).endswith(
        "(7.0 GiB) and was killed. This machine has no more."
    )
    assert too_much_memory(Limits(memory_bytes=7 << 30)).endswith("Use a larger VM size, or less data at a time.")
