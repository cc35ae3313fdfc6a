"""`smalt.agent.wire`: what one side writes the other reads, also when it is of another version."""

from __future__ import annotations

import json

import pytest

from smalt.agent.wire import (
    Hint,
    InputSpec,
    Limits,
    Outcome,
    OutputSpec,
    Phase,
    Probe,
    StopRequest,
    TaskSpec,
    TaskState,
)

SPEC = TaskSpec(
    name="ünï 1",
    owner="/o",
    inputs=[InputSpec("a", value="x")],
    outputs=[OutputSpec("b", path="/p")],
    limits=Limits(50, 7),
    ready=Probe("/s"),
)


def test_a_task_survives_the_way() -> None:
    assert TaskSpec.from_json(SPEC.to_json()) == SPEC


def test_a_newer_servers_task_is_read() -> None:
    assert TaskSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), "novelty": 1})) == SPEC


def test_a_state_survives_the_way() -> None:
    state = TaskState("t", Phase.EXITED, Outcome.OUT_OF_MEMORY, 137, "line\nline", peak_memory_bytes=5)
    assert TaskState.from_json(state.to_json()) == state
    assert TaskState.from_json(TaskState("t").to_json()).outcome is None


def test_a_stop_request_survives_the_way() -> None:
    assert StopRequest.from_json(StopRequest(2.5).to_json()) == StopRequest(2.5)


def test_a_hint_survives_the_way() -> None:
    hint = Hint("/owner/ü", "task\n1")
    assert Hint.from_bytes(hint.to_bytes()) == hint


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"1", b'{"owner": 1, "task": "x"}', b'{"owner": "x"}'])
def test_what_is_no_hint_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Hint.from_bytes(data)
