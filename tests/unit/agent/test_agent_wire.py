"""`smalt.agent.wire`: what one side writes the other reads, also when it is of another version."""

from __future__ import annotations

import json

import pytest

from smalt.agent.wire import (
    Address,
    Head,
    Hint,
    InputSpec,
    Limits,
    Outcome,
    OutputSpec,
    Phase,
    Places,
    Probe,
    Ref,
    ServerSpec,
    StopRequest,
    TaskSpec,
    TaskState,
)

REF = Ref("acc", "con", "folder/ü/")
SPEC = TaskSpec(
    name="ünï 1",
    owner="/o",
    log=REF.below("log.txt"),
    inputs=[InputSpec("a", value="x"), InputSpec("c", source=REF.below("c"))],
    outputs=[OutputSpec("b", target=REF)],
    limits=Limits(50, 7),
    server=ServerSpec(REF.below("model"), "score.py"),
    ready=Probe("/s"),
)


def test_a_task_survives_the_way() -> None:
    assert TaskSpec.from_json(SPEC.to_json()) == SPEC


def test_a_newer_servers_task_is_read() -> None:
    assert TaskSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), "novelty": 1})) == SPEC


def test_places_survive_the_way() -> None:
    places = Places(dict.fromkeys(SPEC.refs(), "/x"), "/envs/key", Address("unix:/run/t.sock"), "/ca.pem")
    assert Places.from_json(places.to_json()) == places
    assert str(places.path(REF)) == "/x"


def test_a_task_names_all_that_it_needs() -> None:
    assert SPEC.refs() == {REF, REF.below("c"), REF.below("log.txt"), REF.below("model")}
    assert REF.below("c").name == "folder/ü/c" and Ref("a", "b", "").below("c").name == "c"


def test_whose_an_older_servers_task_is() -> None:
    """It named paths."""
    older = {"name": "t", "owner": "/o", "log": "/p", "code": "/c", "inputs": [{"name": "i", "source": "/s"}]}
    older["ready"] = {"socket": "/s"}
    assert Head.from_json(json.dumps(older)) == Head("t", "/o")


def test_a_state_survives_the_way() -> None:
    state = TaskState("t", Phase.EXITED, Outcome.OUT_OF_MEMORY, 137, "line\nline", peak_memory_bytes=5)
    assert TaskState.from_json(state.to_json()) == state
    assert TaskState.from_json(TaskState("t").to_json()).outcome is None


def test_a_state_of_an_older_agent_is_read() -> None:
    assert TaskState.from_json('{"name": "t", "phase": "running", "ready": true}').address == ""


@pytest.mark.parametrize(
    ("text", "path", "host", "port"),
    [
        ("unix:/run/a:1.sock", "/run/a:1.sock", "", 0),
        ("127.0.0.1:80", "", "127.0.0.1", 80),
        ("[::1]:80", "", "::1", 80),
    ],
)
def test_an_address_is_a_socket_or_a_port(text: str, path: str, host: str, port: int) -> None:
    address = Address(text)
    assert (address.path, address.host, address.port) == (path, host, port)


def test_a_stop_request_survives_the_way() -> None:
    assert StopRequest.from_json(StopRequest(2.5).to_json()) == StopRequest(2.5)


def test_a_hint_survives_the_way() -> None:
    hint = Hint("/owner/ü", "task\n1")
    assert Hint.from_bytes(hint.to_bytes()) == hint


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"1", b'{"owner": 1, "task": "x"}', b'{"owner": "x"}'])
def test_what_is_no_hint_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Hint.from_bytes(data)
