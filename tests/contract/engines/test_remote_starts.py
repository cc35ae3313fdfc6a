"""What a node is asked to start: it is begun, or ends with a reason, and is never said to be gone meanwhile."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from typing import Any

import pytest

from live.patience import PATIENCE_S
from smalt.agent.wire import Outcome, Phase
from smalt.engines.remote import engine
from smalt.node.builds import _OWNER


def test_a_task_that_is_just_being_started_is_not_said_to_be_gone(remote: Any, monkeypatch: Any) -> None:
    """Its walls may have to be tried first, which takes a while, and others of its owner change meanwhile."""
    service, gate, asked, said = remote.dialled.service, threading.Event(), threading.Event(), threading.Event()
    ensure, report = service._engine.ensure, service._report

    def slowly(task: Any) -> None:
        asked.set()
        assert gate.wait(PATIENCE_S)
        ensure(task)

    def reports(session: str, names: list[str]) -> None:
        report(session, names)
        if names:
            said.set()

    monkeypatch.setattr(service._engine, "ensure", slowly)
    monkeypatch.setattr(service, "_report", reports)
    task = remote.task("one")
    remote.engine.ensure(task)
    assert asked.wait(PATIENCE_S)
    service._owner_changed(task.owner)
    assert said.wait(PATIENCE_S)
    state = remote.engine.observe("one")
    gate.set()
    assert state.phase is Phase.PREPARING, state.error
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0


def test_an_environment_that_nobody_describes_is_told(remote: Any) -> None:
    remote.engine.ensure(remote.task("one", command="true", environment="a" * 40))
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.BUILD and "nothing says how it is built" in state.error
    build = {"definition": {"python": "2.7"}}
    remote.engine.ensure(remote.task("two", command="true", environment="b" * 40, build=build))
    assert "Python 2.7, which this node does not have" in remote.changes.ended("two").error


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(1, "python"), TypeError("unexpected"), OSError(12, "no memory")]
)
def test_a_task_that_its_node_cannot_start_ends(remote: Any, monkeypatch: Any, error: Exception) -> None:
    def refuses(task: Any) -> None:
        raise error

    monkeypatch.setattr(remote.dialled.service._engine, "ensure", refuses)
    remote.engine.ensure(remote.task("one"))
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.SETUP and str(error) in state.error


def test_a_build_that_its_node_cannot_start_ends_the_task(remote: Any, monkeypatch: Any) -> None:
    def refuses(task: Any) -> None:
        raise TypeError("a build of another version")

    monkeypatch.setattr(remote.dialled.service._builds, "_build", refuses)
    remote.engine.ensure(remote.task("one", command="true", environment="a" * 40))
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.BUILD and "of another version" in state.error


def test_a_task_of_another_version_is_answered(remote: Any, monkeypatch: Any) -> None:
    """A node may be older than its server."""
    made = engine.ensure_order

    def newer(id_: str, task: Any) -> Any:
        order = made(id_, task)
        return {**order, "ensure": json.dumps({**json.loads(order["ensure"]), "limits": {"of_tomorrow": 1}})}

    monkeypatch.setattr(engine, "ensure_order", newer)
    remote.engine.ensure(remote.task("one", command="true"))
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.SETUP and "of_tomorrow" in state.error


def test_a_task_that_its_node_does_not_have_can_be_stopped(remote: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(remote.dialled.service, "_ensure", lambda task: None)  # the order is lost
    remote.engine.ensure(remote.task("one", command="true"))
    remote.engine.stop("one", 5)
    assert remote.changes.ended("one").outcome is Outcome.STOPPED


def test_what_waited_for_its_build_in_vain_is_never_begun(remote: Any, monkeypatch: Any) -> None:
    """A server that starts again during a build asks for the task anew, by another id."""
    service, built = remote.dialled.service, threading.Event()
    builds, begin, given = service._builds, service._start, list[str]()
    build = replace(remote.task("build-of-it"), name=f"build-{'a' * 16}-a1", node="", owner=_OWNER + "a" * 40)
    monkeypatch.setattr(builds, "_build", lambda task: build)
    monkeypatch.setattr(builds, "ready", lambda task: built.is_set())
    monkeypatch.setattr(builds._environments, "built", lambda key: built.is_set() or None)
    monkeypatch.setattr(builds, "_start", lambda task: (given.append(task.name), begin(replace(task, environment=""))))
    task = remote.task("one", command="true", environment="a" * 40)
    remote.engine.ensure(task)
    remote.dialled.until(lambda: build.name in service._here(builds=True))
    (before,) = builds._waiting["a" * 40]
    remote.restart_server()
    remote.changes.told("/owner/one")
    assert remote.engine.observe("one") is None
    remote.engine.ensure(task)
    remote.dialled.until(lambda: builds._waiting.get("a" * 40, {}).keys() - {before})
    built.set()
    remote.finish("build-of-it", 0)
    remote.changes.ended("one")
    assert len(given) == 1 and before not in given
