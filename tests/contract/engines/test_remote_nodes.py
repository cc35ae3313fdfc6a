"""A node that dials in: lines that are cut, servers and node services that come and go, and what must never run twice."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from fakes.dialled import begun
from live.patience import PATIENCE_S
from smalt.agent.wire import Outcome, Phase
from smalt.engines.remote import RemoteEngine
from smalt.engines.remote.messages import PREFIX, SESSION_HEADER
from smalt.store import node_tasks, nodes

HELLO = {
    "incarnation": "another-one",
    "version": "1",
    "cpus": 1,
    "memory_bytes": 1,
    "gpus": 0,
    "isolation": "walls",
}


def test_it_runs_on_the_node_alone(remote: Any) -> None:
    begun(remote, "one")
    assert remote.engine.local.observe("one") is None
    assert [path.parts[-2] for path in remote.root.glob("*/tasks/one.*")] == ["tasks"]
    remote.finish("one", 0)
    remote.changes.ended("one")
    remote.engine.remove("one")
    remote.dialled.until(lambda: not list(remote.root.glob("*/tasks/one.*")))


def test_what_names_no_node_runs_here(remote: Any) -> None:
    remote.engine.ensure(replace(remote.task("here"), node=""))
    remote.finish("here", 0)
    remote.dialled.until(lambda: remote.engine.observe("here").phase is Phase.EXITED)
    assert (remote.dialled.root / "own" / "tasks" / "here").exists()
    remote.engine.remove("here")
    assert remote.engine.observe("here") is None


def test_its_capacity_is_the_nodes(remote: Any) -> None:
    found = remote.engine.capacity(remote.dialled.node)
    assert (found.cpus, found.memory_bytes, found.gpus) == (2, 1 << 33, 0)
    assert remote.engine.isolation(remote.dialled.node).level == "walls"


def test_a_cut_line_loses_nothing(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.cut()
    assert remote.engine.observe("one").phase is Phase.RUNNING
    remote.dialled.stop_node()
    remote.finish("one", 4)
    remote.engine.ensure(remote.task("two"))
    assert remote.engine.observe("two").phase is Phase.PREPARING
    remote.dialled.start_node()
    assert remote.changes.ended("one").exit_code == 4
    remote.finish("two", 0)
    assert remote.changes.ended("two").exit_code == 0
    assert remote.started() == 2


def test_a_folder_that_cannot_be_read_for_a_moment_ends_no_service(remote: Any, monkeypatch: Any) -> None:
    begun(remote, "one")
    service, failed = remote.dialled.service, threading.Event()
    tell = service._all

    def fails_once() -> Any:
        if not failed.is_set():
            failed.set()
            raise OSError(5, "Input/output error")
        return tell()

    monkeypatch.setattr(service, "_all", fails_once)
    remote.dialled.cut()
    assert failed.is_set()
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0


def test_a_server_that_starts_again_knows_what_runs(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_server()
    remote.finish("one", 0)
    remote.take_over()
    assert remote.changes.ended("one").exit_code == 0
    assert remote.started() == 1


def test_a_task_is_asked_for_again_where_the_node_never_had_it(remote: Any) -> None:
    """Its specification holds secrets, so no server keeps it for the next."""
    remote.dialled.stop_node()
    task = remote.task("late")
    remote.engine.ensure(task)
    remote.restart_server()
    assert remote.engine.observe("late").phase is Phase.PREPARING  # nobody knows yet
    remote.dialled.start_node()
    remote.changes.told("/owner/late")
    assert remote.engine.observe("late") is None
    remote.engine.ensure(task)
    remote.finish("late", 0)
    assert remote.changes.ended("late").exit_code == 0


def test_a_stop_that_met_a_cut_line_is_obeyed_after_it(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_node()
    remote.engine.stop("one", 5)
    remote.restart_server()
    remote.dialled.start_node()
    assert remote.changes.ended("one").outcome is Outcome.STOPPED


def test_a_removal_that_met_a_cut_line_is_done_after_it(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_node()
    remote.engine.remove("one")
    assert remote.engine.observe("one") is None and remote.processes("one")
    remote.restart_server()
    remote.dialled.start_node()
    remote.dialled.until(lambda: not remote.processes("one"))
    with remote.dialled.database.read() as connection:
        remote.dialled.until(lambda: not node_tasks.of_node(connection, remote.dialled.node) or connection.rollback())


def test_a_node_service_that_ends_leaves_its_tasks_to_the_next(remote: Any) -> None:
    begun(remote, "one")
    before = remote.processes("one")
    remote.dialled.stop_node()
    remote.dialled.until(lambda: remote.dialled.machine().state == nodes.SILENT)
    remote.dialled.start_node()
    remote.dialled.until_connected()
    assert remote.processes("one") == before
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0
    assert remote.started() == 1


def test_a_node_that_denies_a_task_has_lost_it(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_node()
    settings = remote.dialled.settings("s")
    for folder in settings.tasks.glob("one.*"):
        folder.rename(remote.root / "away")
    remote.dialled.start_node()
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.LOST and "does not know" in state.error
    remote.finish("one", 0)


def test_another_incarnation_has_nothing_of_the_first(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_node()
    remote.dialled.start_node("another")
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.LOST and "came back without" in state.error
    assert remote.processes("one")
    remote.engine.remove("one")
    remote.dialled.stop_node()
    remote.dialled.start_node()  # the first comes back: nobody wants what it runs
    remote.dialled.until(lambda: not remote.processes("one"))


def test_who_is_silent_for_too_long_has_lost_its_tasks_and_ends_them_when_it_is_back(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_node()
    remote.dialled.until(lambda: remote.dialled.machine().state == nodes.SILENT)
    remote.changes.owners.clear()
    remote.dialled.remote._lost_after_s = 1.0  # not before: on a slow machine, a node that is there may be so silent
    remote.dialled.remote._look_again.set()
    remote.changes.told("/owner/one")  # by the clock alone: nobody looks
    state = remote.engine.observe("one")
    assert state.outcome is Outcome.LOST and "has not been heard of" in state.error
    assert remote.processes("one"), "nobody is there to tell it"
    remote.dialled.start_node()
    remote.dialled.until(lambda: not remote.processes("one"))
    assert remote.engine.observe("one").outcome is Outcome.LOST


def test_the_time_without_a_server_is_no_silence(remote: Any) -> None:
    begun(remote, "one")
    remote.dialled.stop_server()
    time.sleep(1.5)  # longer than a silence may be
    again = RemoteEngine(remote.dialled.database, time.time, 1.0)
    assert again.observe("one").phase is Phase.RUNNING
    remote.dialled.start_server()
    remote.engine = remote.dialled.engine


def test_a_token_that_is_taken_back_opens_nothing(remote: Any) -> None:
    begun(remote, "one")
    with remote.dialled.database.write() as connection:
        nodes.remove(connection, remote.dialled.node)
    remote.dialled.remote.look()
    state = remote.changes.ended("one")
    assert state.outcome is Outcome.LOST and "was removed" in state.error
    assert remote.dialled.revoked.wait(PATIENCE_S)
    remote.dialled.until(lambda: not remote.processes("one"))
    lost = remote.task("later")
    remote.engine.ensure(lost)
    assert remote.engine.observe("later").outcome is Outcome.LOST


def test_another_machine_with_the_same_file_is_refused_while_the_first_is_there(remote: Any) -> None:
    begun(remote, "one")
    answer = post(remote, "channel", HELLO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NodeConnected")
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("channel", {}, 400),
        (
            "channel",
            {"incarnation": "x" * 65, "version": "1", "cpus": 1, "memory_bytes": 1, "gpus": 0, "isolation": ""},
            400,
        ),
        ("channel", {**HELLO, "cpus": 10**30}, 400),
        ("channel", {**HELLO, "memory_bytes": 1 << 63}, 400),
        ("channel", {**HELLO, "gpus": -1}, 400),
        ("channel", {**HELLO, "version": "1\0"}, 400),
        ("channel", {**HELLO, "loopback": "x" * 129}, 400),
        ("channel", {**HELLO, "tasks": [{"id": "a\0"}]}, 400),
        ("reports", {"said": [{"id": "", "state": None}]}, 400),
        ("reports", {"usage": [{"task": "a", "cpu_s": 1e300, "memory_bytes": 1}]}, 400),
        ("reports", {"said": []}, 409),
        ("nothing", {}, 404),
    ],
)
def test_what_makes_no_sense_is_refused(remote: Any, path: str, body: Any, status: int) -> None:
    assert post(remote, path, body).status_code == status


@pytest.mark.parametrize("header", ["", "Bearer a b", "Bearer wrong", "Basic d3Jvbmc="])
def test_only_a_nodes_token_opens_its_routes(remote: Any, header: str) -> None:
    for path in ("channel", "reports"):
        answer = post(remote, path, {}, {"Authorization": header})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidNodeToken")


def test_a_node_speaks_for_its_own_tasks_alone(remote: Any) -> None:
    begun(remote, "one")
    with remote.dialled.database.write() as connection:
        (task,) = node_tasks.of_node(connection, remote.dialled.node)
        nodes.add(connection, "other", "/computes/far", {}, 1.0)
        node_tasks.note(connection, task.id, node="other")
    ended = {"name": task.id, "phase": "exited", "outcome": "exited", "exit_code": 0}
    answer = post(remote, "reports", {"said": [{"id": task.id, "state": ended}]}, {SESSION_HEADER: session(remote)})
    assert answer.json() == {"gone": [task.id]}
    assert remote.engine.observe("one").phase is Phase.RUNNING


@pytest.mark.parametrize(
    "state",
    [
        [],
        {"phase": "tomorrow"},
        {"phase": "exited"},
        {"phase": "exited", "outcome": "exited", "exit_code": "many"},
        {"phase": "running", "started_at": 1e300},
        {"phase": "running", "pid": 10**30},
    ],
)
def test_a_state_that_cannot_be_read_loses_that_task_alone(remote: Any, state: Any) -> None:
    begun(remote, "one")
    remote.engine.ensure(remote.task("two"))
    remote.changes.running("two")
    with remote.dialled.database.read() as connection:
        one, two = (node_tasks.current(connection, name).id for name in ("one", "two"))
    said = [{"id": one, "state": state}, {"id": two, "state": {"phase": "running", "error": "a\0b"}}]
    answer = post(remote, "reports", {"said": said}, {SESSION_HEADER: session(remote)})
    assert (answer.status_code, answer.json()) == (200, {"gone": [one]})
    lost = remote.engine.observe("one")
    assert lost.outcome is Outcome.LOST and "cannot be read" in lost.error
    assert remote.engine.observe("two").error == "a\N{REPLACEMENT CHARACTER}b"


def test_a_hello_with_a_state_that_cannot_be_read_is_heard(remote: Any, monkeypatch: Any) -> None:
    begun(remote, "one")
    tell = remote.dialled.service._all
    monkeypatch.setattr(
        remote.dialled.service, "_all", lambda: [{**one, "state": {"phase": "tomorrow"}} for one in tell()]
    )
    remote.dialled.cut()
    assert remote.changes.ended("one").outcome is Outcome.LOST
    remote.dialled.until(lambda: not remote.processes("one"))


def test_a_database_that_is_away_is_said(remote: Any, monkeypatch: Any) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))

    begun(remote, "one")
    monkeypatch.setattr(nodes, "with_token", away)
    for path in ("channel", "reports"):
        answer = post(remote, path, HELLO)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ServerBusy")
    monkeypatch.undo()
    remote.finish("one", 0)
    assert remote.changes.ended("one").exit_code == 0


def session(remote: Any) -> str:
    return remote.dialled.remote._sessions[remote.dialled.node].id


def post(remote: Any, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    given = {"Authorization": f"Bearer {remote.dialled.token}", **(headers or {})}
    return httpx.post(f"http://127.0.0.1:{remote.dialled.port}{PREFIX}/{path}", json=body, headers=given)
