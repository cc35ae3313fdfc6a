"""A carried task's folder is kept while somebody needs it, and by several at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from smalt.agent import wire
from smalt.agent.wire import TaskSpec
from smalt.engines.local.carry.job import Job, Over

SOON_S = 20.0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / wire.TASK_FILE).write_text(TaskSpec("one", "/owner", command="true").to_json())
    (tmp_path / "carry").mkdir()
    return Job(tmp_path, os.open(tmp_path / "carry" / "lock", os.O_RDWR | os.O_CREAT, 0o600))


def test_several_hold_it_at_once_and_an_end_waits_for_the_last(job: Job) -> None:
    both, leave, ended = threading.Barrier(3), [threading.Event(), threading.Event()], threading.Event()
    early: list[bool] = []

    def hold(at: int) -> None:
        with job.held():
            both.wait(SOON_S)
            leave[at].wait(SOON_S)
            early.append(ended.is_set())

    def end() -> None:
        job.end()
        ended.set()

    threads = [threading.Thread(target=hold, args=(at,)) for at in range(2)]
    for one in threads:
        one.start()
    both.wait(SOON_S)  # neither keeps the other out
    ending = threading.Thread(target=end)
    ending.start()
    for event, one in zip(leave, threads, strict=True):
        assert ending.is_alive()
        event.set()
        one.join(SOON_S)
    assert ended.wait(SOON_S) and early == [False, False]
    ending.join(SOON_S)
    with pytest.raises(Over), job.held():
        pytest.fail("it is over")
    job.end()
