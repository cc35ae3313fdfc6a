"""What Ray's dashboard answers, as the provider of nodes understands it; its words are those of Ray 2.60."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import NodePlace, WantedNode
from smalt.engines.ray import RayProvider, dashboard
from smalt.engines.ray.dashboard import Dashboard
from smalt.settings import Settings

PLACE = NodePlace("http://head:8265", "smalt-1", "~/.smalt-ray", token="t0k")
WANTED = [WantedNode("rays-1", "secret", 4)]
VERSION = {"version": "4", "ray_version": "2.60.0"}


class Head:
    """`answers`: by method and path."""

    def __init__(self, **jobs: str) -> None:
        self.jobs, self.seen = dict(jobs), list[httpx.Request]()
        self.version: Any = VERSION
        self.lists: dict[str, list[dict[str, Any]]] = {"actors": [], "placement_groups": [], "nodes": []}
        self.log = ""
        self.token = "t0k"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        path = request.url.path
        if request.headers.get("authorization") != f"Bearer {self.token}" and path != "/api/version":
            return httpx.Response(401, text="Unauthorized: Missing authentication token")
        if path == "/api/version":
            return httpx.Response(200, json=self.version)
        if path == "/api/jobs/":
            self.jobs[json.loads(request.content)["submission_id"]] = "PENDING"
            return httpx.Response(200, json={})
        if path.startswith("/api/v0/"):
            key, value = request.url.params["filter_keys"], request.url.params["filter_values"]
            found = [one for one in self.lists[path.removeprefix("/api/v0/")] if one.get(key, value) == value]
            return httpx.Response(200, json={"data": {"result": {"result": found}}})
        id_, _, what = path.removeprefix("/api/jobs/").partition("/")
        if id_ not in self.jobs:
            return httpx.Response(404, text=f"Job {id_} does not exist")
        if what == "logs":
            return httpx.Response(200, json={"logs": self.log})
        if request.method == "DELETE":
            del self.jobs[id_]
            return httpx.Response(200, json={})
        return httpx.Response(200, json={"status": self.jobs[id_], "message": "it said nothing"})


@pytest.fixture
def provider(tmp_path: Path) -> Callable[[Any], RayProvider]:
    settings = Settings(tmp_path, host="ml.example", port=1443)
    settings.tls.mkdir(parents=True)
    (settings.tls / "ca.pem").write_text("CA")
    return lambda head: RayProvider(settings, httpx.MockTransport(head))


def test_a_request_is_sent_once_and_asked_for_until_it_is_done(provider: Callable[[Any], RayProvider]) -> None:
    head = Head()
    ray = provider(head)
    assert not ray.apply(PLACE, "id-1", WANTED).done
    assert not ray.apply(PLACE, "id-1", WANTED).done
    (sent,) = [one for one in head.seen if one.method == "POST"]
    variables = json.loads(sent.content)["runtime_env"]["env_vars"]
    told = json.loads(zlib.decompress(base64.b64decode(variables["SMALT_WANTED"])))
    assert (told["server"], told["ca"]) == ("https://ml.example:1443", "CA")
    assert told["nodes"] == [{"name": "rays-1", "cpus": 4, "gpus": 0, "token": "secret"}]
    compile(variables["SMALT_BRIDGE"], "bridge", "exec")
    head.jobs["id-1"] = "SUCCEEDED"
    applied = ray.apply(PLACE, "id-1", WANTED)
    assert applied.done and not applied.error
    assert head.jobs == {}, "it showed the nodes' tokens"


def test_a_job_that_failed_says_why(provider: Callable[[Any], RayProvider]) -> None:
    head = Head(**{"id-1": "FAILED"})
    head.log = "Traceback:\nModuleNotFoundError: No module named 'ray'\n"
    applied = provider(head).apply(PLACE, "id-1", WANTED)
    assert applied.done and applied.error.endswith("No module named 'ray'")
    assert head.jobs == {}, "it showed the nodes' tokens"


def test_a_job_whose_log_is_gone_is_forgotten_too(provider: Callable[[Any], RayProvider]) -> None:
    head = Head(**{"id-1": "FAILED"})

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, text="no agent") if request.url.path.endswith("/logs") else head(request)

    applied = provider(answer).apply(PLACE, "id-1", WANTED)
    assert applied.done and applied.error.endswith("it said nothing") and head.jobs == {}


def test_a_thousand_nodes_are_asked_for_at_once(provider: Callable[[Any], RayProvider], tmp_path: Path) -> None:
    """Ray gives all variables of a job as one argument, of which Linux takes 128 KiB."""
    (tmp_path / "tls" / "ca.pem").write_text(secrets.token_urlsafe(1500))
    head = Head()
    provider(head).apply(
        PLACE, "id-1", [WantedNode(f"rays-{secrets.token_hex(4)}", secrets.token_urlsafe(32), 4) for _ in range(1000)]
    )
    (sent,) = [one for one in head.seen if one.method == "POST"]
    assert len(json.dumps(json.loads(sent.content)["runtime_env"])) < 100 * 1024


def test_what_is_said_of_actors(provider: Callable[[Any], RayProvider]) -> None:
    head = Head()
    error = "Traceback\n  File x\nRuntimeError: Ray node n1 has Smalt 0.1, the platform 0.2: install that there.\n"
    head.lists["actors"] = [
        {"name": "a", "state": "ALIVE"},
        {"name": "b", "state": "DEAD", "death_cause": {"creation_task_failure_context": {"error_message": error}}},
        {"name": "c", "state": "PENDING_CREATION"},
        {"name": "d", "state": "RESTARTING"},
        {"name": "e", "state": "RESTARTING"},
        {"name": "f", "state": "PENDING_CREATION"},
    ]
    group = {"name": "smalt-1/c", "state": "PENDING", "bundles": [{"unit_resources": {"CPU": 4.0, "GPU": 1.0}}]}
    head.lists["placement_groups"] = [
        group,
        {"name": "another's", "state": "PENDING", "bundles": [{"unit_resources": {"CPU": 99.0}}]},
        {"name": "smalt-1/d", "state": "RESCHEDULING"},
        {"name": "smalt-1/e", "state": "CREATED"},
        {"name": "smalt-1/f", "state": "CREATED"},
    ]
    head.lists["nodes"] = [{"resources_total": {"CPU": 2.0}}, {"resources_total": {"CPU": 8.0, "GPU": 0.0}}]
    known = provider(head).observe(PLACE)
    assert {name: one.state for name, one in known.items()} == {
        "a": "running",
        "b": "dead",
        "c": "waiting",
        "d": "waiting",  # its machine died
        "e": "starting",  # its process did
        "f": "starting",
    }
    assert known["b"].why == "Ray node n1 has Smalt 0.1, the platform 0.2: install that there."
    assert "4 CPU, 1 GPU" in known["c"].why and "8 CPU, 0 GPU" in known["c"].why


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        ({"token": "other"}, "RayUnauthorized", "token"),
        ({"version": {"ray_version": "2.9.3"}}, "RayUnsupported", "2.50"),
        ({"version": {"ray_version": "soon"}}, "RayUnsupported", "soon"),
        ({"version": [1]}, "RayUnsupported", "does not answer as Ray"),
    ],
)
def test_a_dashboard_that_cannot_be_used(broken: dict[str, Any], code: str, words: str) -> None:
    head = Head()
    vars(head).update(broken)
    with Dashboard(PLACE.url, "t0k", httpx.MockTransport(head)) as ray, pytest.raises(ArmError) as found:
        ray.check()
    assert found.value.code == code and words in found.value.message


def test_one_that_is_not_there() -> None:
    with (
        Dashboard("http://127.0.0.1:1") as ray,
        pytest.raises(ArmError, match=r"http://127\.0\.0\.1:1 cannot be reached"),
    ):
        ray.check()


@pytest.mark.parametrize(
    ("url", "token", "field"),
    [
        ("http://ray:dash", "", "ray.url"),
        ("http://[::1", "", "ray.url"),
        ("http://head:8265:1", "", "ray.url"),
        ("http://:8265", "", "ray.url"),
        ("http://head:99999", "", "ray.url"),
        ("http://head..example:8265", "", "ray.url"),
        (PLACE.url, "gehe\u00efm", "ray.token"),
        (PLACE.url, "two\nlines", "ray.token"),
    ],
)
def test_an_address_that_is_none(url: str, token: str, field: str) -> None:
    with pytest.raises(ArmError) as found:
        Dashboard(url, token)
    assert (found.value.status, found.value.target) == (400, field)


def test_addresses_that_are_some() -> None:
    for url in (PLACE.url, "https://head", "http://[::1]:8265", "http://10.0.0.1:8265", "HTTP://Head:80"):
        with Dashboard(url, "t0k"):
            pass


def test_a_list_that_is_not_rays() -> None:
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": None}))
    with Dashboard(PLACE.url, "", answer) as ray, pytest.raises(ArmError) as found:
        ray.nodes()
    assert found.value.code == "RayUnsupported"


def test_one_that_takes_calls_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "_CALL_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Dashboard(url) as ray, pytest.raises(ArmError, match="cannot be reached"):
            ray.check()


def test_one_that_answers_a_piece_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [0.0], list[bytes]()
    monkeypatch.setattr(dashboard, "monotonic", lambda: now[0])

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            now[0] += 2
            sent.append(b" ")
            yield b" "

    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=pieces()))
    with Dashboard(PLACE.url, "", answer) as ray, pytest.raises(ArmError, match="no whole answer within 6 s"):
        ray.nodes()
    assert len(sent) < 10
