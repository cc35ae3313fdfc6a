"""When the tasks of an attempt are through, and which of them was the first to fail."""

from __future__ import annotations

from smalt.agent.wire import Outcome, Phase, TaskState
from smalt.kinds.jobs import gang


def ended(name: str, code: int, at: float, outcome: Outcome = Outcome.EXITED, done: bool = False) -> TaskState:
    return TaskState(name, Phase.EXITED, outcome=outcome, exit_code=code, ended_at=at, done=done)


def test_what_only_served_others_may_end_as_it_likes_once_those_are_through() -> None:
    well, server = ended("worker", 0, 10), ended("server", 1, 11, done=True)
    assert gang.is_fine([well, server])
    assert not gang.is_fine([well, ended("server", 1, 9, done=True)])


def test_where_all_that_is_left_serves_it_does_not_matter_how_that_ends() -> None:
    """A Ray job's first node has its head beside the command: what others do when that leaves is no failure."""
    head = ended("head", 143, 20, Outcome.STOPPED, done=True)
    assert gang.is_fine([head, ended("worker", 1, 19, done=True)])
    assert not gang.is_fine([ended("head", 143, 20, Outcome.STOPPED), ended("worker", 1, 19, done=True)])
    assert gang.first_to_fail([ended("head", 143, 20, Outcome.STOPPED), ended("worker", 1, 19)]).name == "worker"
