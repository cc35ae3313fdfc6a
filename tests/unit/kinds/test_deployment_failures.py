"""An engine or a gateway that fails for minutes: what was coming up fails, what serves is kept up and comes back."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.agent.wire import Phase
from smalt.store import resources

KEY = "workspaces/onlineendpoints/deployments"
BLUE = EXAMPLES[KEY].url


def passes(harness: Harness, seconds: int) -> None:
    for _ in range(seconds):
        harness.settle()
        for name, one in list(harness.engine.states.items()):
            if one.phase is Phase.PREPARING:
                harness.engine.start(name)
                harness.engine.ready(name)
        harness.clock.pass_(1)
    harness.settle()


def broken(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def state(harness: Harness) -> str:
    return harness.get(BLUE).json()["properties"]["provisioningState"]


def test_a_deployment_that_can_never_be_started_fails_with_the_reason(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(harness, KEY)
    with monkeypatch.context() as patched:
        patched.setattr(harness.engine, "ensure", broken)
        operation = harness.put(BLUE, EXAMPLES[KEY].body()).headers["azure-asyncoperation"]
        passes(harness, 60)
    answer = harness.get(operation).json()
    assert state(harness) == "Failed"
    assert answer["status"] == "Failed" and "No space left" in answer["error"]["message"]
    assert harness.put(BLUE, EXAMPLES[KEY].body()).status_code in (200, 201)
    passes(harness, 5)
    assert state(harness) == "Succeeded", "the same again works once there is room"


def test_a_replica_that_cannot_be_replaced_for_minutes_is_replaced_then(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(harness, KEY)
    harness.put(BLUE, EXAMPLES[KEY].body())
    passes(harness, 3)
    (replica,) = harness.engine.states
    with monkeypatch.context() as patched:
        patched.setattr(harness.engine, "ensure", broken)
        harness.engine.finish(replica, 1)
        passes(harness, 300)
        assert state(harness) != "Failed" and not harness.engine.states
    passes(harness, 60)
    assert state(harness) == "Succeeded" and len(harness.engine.states) == 1


def test_a_gateway_that_fails_for_minutes_goes_on(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(harness, KEY)
    with monkeypatch.context() as patched:
        patched.setattr(harness.gateway, "apply", broken)
        harness.put(BLUE, EXAMPLES[KEY].body())
        passes(harness, 300)
        assert state(harness) == "Creating"
    passes(harness, 60)
    assert state(harness) == "Succeeded"


def die(harness: Harness, pause_s: float) -> None:
    """The replica ends; its successor is up `pause_s` later."""
    for name, one in list(harness.engine.states.items()):
        if one.phase is not Phase.EXITED:
            harness.engine.finish(name, 1, error="oom")
    harness.settle()
    harness.clock.pass_(pause_s)
    passes(harness, 1)


def pause(harness: Harness) -> float:
    """How long a successor waits after the death that has just been."""
    for name in list(harness.engine.states):
        harness.engine.finish(name, 1, error="oom")
    began = harness.clock.now
    harness.settle()
    while not harness.engine.states:
        due = harness.row(BLUE).due_at
        assert due is not None and harness.clock.now - began < 60
        harness.clock.pass_(max(due - harness.clock.now, 0) + 1e-3)
        harness.settle()
    return harness.clock.now - began


def test_a_crash_loop_leaves_the_logs_of_its_last_replicas(harness: Harness) -> None:
    prepare(harness, KEY)
    harness.put(BLUE, EXAMPLES[KEY].body())
    passes(harness, 2)
    for _ in range(25):
        for task in harness.engine.tasks.values():
            log = harness.blobs.path(*task.log)
            log.parent.mkdir(parents=True)
            log.write_bytes(b"x" * (3 << 20) + b"the end")
        last = task.log
        die(harness, 31)
    logs = [one.read_bytes() for one in harness.blobs.path(*last).parents[1].glob("*/log.txt")]
    assert len(logs) == 10 and all(len(log) == 1 << 20 and log.endswith(b"the end") for log in logs)
    assert harness.blobs.size(*last) == 1 << 20, "the youngest are kept"


def test_pauses_grow_with_deaths_in_a_row_and_are_short_again_after_a_time_of_health(harness: Harness) -> None:
    prepare(harness, KEY)
    harness.put(BLUE, EXAMPLES[KEY].body())
    passes(harness, 2)
    for _ in range(12):
        die(harness, 31)
    assert pause(harness) > 29
    harness.clock.pass_(31)
    passes(harness, 700)
    assert pause(harness) < 0.2


def test_a_replica_that_died_a_thousand_times_is_replaced_like_any_other(harness: Harness) -> None:
    prepare(harness, KEY)
    harness.put(BLUE, EXAMPLES[KEY].body())
    passes(harness, 2)
    row = harness.row(BLUE)
    deaths = {"0": {"count": 5000, "at": harness.clock.now}}
    with harness.database.write() as connection:
        resources.merge_status(connection, row.id, {"target": {**row.status["target"], "deaths": deaths}})
    assert 29 < pause(harness) < 32
    assert "OverflowError" not in str(harness.row(BLUE).status)


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_jumps_is_no_time_that_a_replica_took(harness: Harness, jump_s: int) -> None:
    prepare(harness, KEY)
    operation = harness.put(BLUE, EXAMPLES[KEY].body()).headers["azure-asyncoperation"]
    harness.settle()
    harness.clock.pass_(jump_s)
    with harness.database.write() as connection:
        resources.poke(connection, [harness.row(BLUE).id], harness.clock())
    harness.settle()
    assert state(harness) == "Creating"
    passes(harness, 2)
    assert harness.get(operation).json()["status"] == "Succeeded"


def test_a_replica_that_takes_too_long_is_a_timeout(harness: Harness) -> None:
    prepare(harness, KEY)
    operation = harness.put(BLUE, EXAMPLES[KEY].body()).headers["azure-asyncoperation"]
    harness.settle()
    (task,) = harness.engine.tasks.values()
    harness.blobs.write(task.log, b"downloading weights\n")
    for _ in range(19):
        harness.settle()
        assert state(harness) == "Creating"
        harness.clock.pass_(30.1)
    passes(harness, 0)
    harness.clock.pass_(30.1)
    harness.settle()
    error = harness.get(operation).json()["error"]
    assert error["code"] == "DeploymentTimeout" and error["message"].endswith("downloading weights")
