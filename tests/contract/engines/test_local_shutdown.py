"""Ending all tasks of a root without a server, and seeing what runs there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from live.patience import PATIENCE_S
from live.processes import any_alive
from smalt.agent.wire import Outcome, Phase, TaskState
from smalt.engines.local import LocalEngine
from smalt.engines.local.folders import read_state
from smalt.engines.local.shutdown import end_tasks
from smalt.engines.local.survey import running_tasks

DEAF = "trap '' TERM; setsid bash -c 'trap \"\" TERM HUP; while :; do sleep 0.1; done' & echo up; while :; do sleep 0.1; done"


def started(local: Any, name: str, command: str) -> TaskState:
    task = local.task(name, command=command)
    local.engine.ensure(task)
    local.changes.running(name)
    while "up" not in (Path(task.log.name).read_text() if Path(task.log.name).exists() else ""):
        time.sleep(0.02)
    state = read_state(local.folder(name))
    assert state is not None
    return state


def test_a_running_task_is_seen_with_all_its_processes_and_their_memory(local: Any) -> None:
    assert running_tasks(local.settings) == []
    state = started(local, "t", "sleep 60 & setsid sleep 61 & echo up; wait")
    (one,) = running_tasks(local.settings)
    assert (one.name, one.owner, one.folder) == ("t", "/owner/t", local.folder("t"))
    processes = [psutil.Process(pid) for pid in one.pids]
    names = sorted(process.name() for process in processes)
    assert names == ["bash", "sleep", "sleep", "smalt-agent", "smalt-warden"]
    assert {state.agent_pid, state.pid} <= set(one.pids)
    wanted = sum(process.memory_info().rss for process in processes)
    assert one.rss_bytes == pytest.approx(wanted, rel=0.5)
    local.engine.stop("t", 0)
    local.changes.ended("t")
    psutil.wait_procs(processes, timeout=PATIENCE_S)
    assert running_tasks(local.settings) == []


def test_polite_tasks_end_at_once_and_are_lost(local: Any) -> None:
    started(local, "a", "echo up; sleep 60")
    started(local, "b", "sleep 61 & echo up; wait")
    pids = [pid for one in running_tasks(local.settings) for pid in one.pids]
    began = time.monotonic()
    assert end_tasks(local.settings, grace_s=600) == []
    assert time.monotonic() - began < 60
    assert any_alive(pids) == []
    for name in "ab":
        state = LocalEngine(local.settings).observe(name)
        assert state is not None
        assert (state.phase, state.outcome) == (Phase.EXITED, Outcome.LOST)


@pytest.mark.parametrize("trouble", ["", "agent stopped", "warden stopped", "agent and warden killed"])
def test_what_does_not_listen_is_killed_whatever_looks_after_it(local: Any, trouble: str) -> None:
    state = started(local, "t", DEAF)
    (task,) = running_tasks(local.settings)
    warden = psutil.Process(state.agent_pid).ppid()
    for who, pid in (("warden", warden), ("agent", state.agent_pid)):
        if who in trouble:
            os.kill(pid, signal.SIGKILL if "killed" in trouble else signal.SIGSTOP)
    assert end_tasks(local.settings, grace_s=0.2, settle_s=0.5) == []
    assert any_alive(task.pids) == []
    found = LocalEngine(local.settings).observe("t")
    assert found is not None
    assert (found.phase, found.outcome) == (Phase.EXITED, Outcome.LOST)


def test_a_root_without_tasks_is_left_as_it_is(local: Any, tmp_path: Path) -> None:
    assert end_tasks(local.settings) == []
    assert running_tasks(type(local.settings)(tmp_path / "none")) == []
    assert not (tmp_path / "none").exists()
