"""An engine or a gateway that fails for minutes: what was coming up fails, what serves is kept up and comes back."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.agent.wire import Phase

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
