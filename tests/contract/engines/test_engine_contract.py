"""What every engine promises; see `smalt.arm.ports.Engine`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from smalt.agent.wire import Outcome, Phase

NAMES = ["plain-1", "with space", "ünïcode-名前", "a/b", "../up", "x" * 255, ".hidden"]


def test_unknown_tasks_are_none_and_ignored(harness: Any) -> None:
    assert harness.engine.observe("nobody") is None
    harness.engine.stop("nobody", 1)
    harness.engine.remove("nobody")
    assert harness.engine.observe("nobody") is None


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_task_runs_to_its_end(harness: Any, exit_code: int) -> None:
    harness.engine.ensure(harness.task("one"))
    harness.finish("one", exit_code)
    state = harness.changes.ended("one")
    assert (state.name, state.outcome, state.exit_code) == ("one", Outcome.EXITED, exit_code)
    assert state.ended_at >= state.started_at >= state.accepted_at > 0
    harness.changes.told("/owner/one")  # the state may be seen before it is told


def test_the_same_name_starts_once(harness: Any) -> None:
    task = harness.task("once")
    for fence in (1, 1, 2, 5):
        harness.engine.ensure(replace(task, fence=fence))
    harness.finish("once", 0)
    harness.changes.ended("once")
    harness.engine.ensure(replace(task, fence=6))
    assert harness.started() == 1
    assert harness.engine.observe("once").phase is Phase.EXITED


def test_an_older_fence_is_refused(harness: Any) -> None:
    task = harness.task("fenced", fence=3)
    harness.engine.ensure(task)
    harness.engine.ensure(replace(task, fence=7))
    with pytest.raises(ValueError, match="fence 6 is older than 7"):
        harness.engine.ensure(replace(task, fence=6))
    harness.finish("fenced", 0)
    harness.changes.ended("fenced")
    assert harness.started() == 1


def test_stop_ends_it_as_stopped(harness: Any) -> None:
    harness.engine.ensure(harness.task("stopped"))
    harness.engine.stop("stopped", 5)
    state = harness.changes.ended("stopped")
    assert state.outcome is Outcome.STOPPED
    harness.engine.stop("stopped", 0)
    assert harness.engine.observe("stopped") == state


def test_after_remove_the_name_is_free_again(harness: Any) -> None:
    task = harness.task("again", fence=4)
    harness.engine.ensure(task)
    harness.engine.remove("again")
    assert harness.engine.observe("again") is None
    harness.engine.ensure(replace(task, fence=1))
    if hasattr(harness, "dialled"):  # its orders come one after the other: when this one runs, the first is gone
        harness.changes.running("again")
    harness.finish("again", 0)
    assert harness.changes.ended("again").exit_code == 0


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_task(harness: Any, name: str) -> None:
    harness.engine.ensure(harness.task(name))
    harness.finish(name, 0)
    assert harness.changes.ended(name).name == name


def test_tasks_do_not_touch_each_other(harness: Any) -> None:
    for name in ("left", "right"):
        harness.engine.ensure(harness.task(name))
    harness.finish("left", 1)
    assert harness.changes.ended("left").exit_code == 1
    assert harness.engine.observe("right").phase is not Phase.EXITED
    harness.finish("right", 0)
    assert harness.changes.ended("right").exit_code == 0


def test_capacity_is_that_of_a_machine(harness: Any) -> None:
    capacity = harness.engine.capacity()
    assert capacity.cpus >= 1
    assert capacity.memory_bytes > 1 << 28
    assert capacity.gpus >= 0
