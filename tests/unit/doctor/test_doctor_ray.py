"""Ray beside Smalt, and what the platform's Ray cluster has, of a dashboard that answers as Ray 2.60's does."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from fakes.machines import machine
from live.ports import free_port
from smalt.doctor import ray
from smalt.doctor.finding import State

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass
class Head:
    url: str = ""
    token: str = ""
    answers: dict[str, Any] = field(default_factory=dict[str, Any])

    def has(self, ray: str, python: str | None = f"{PYTHON}.99") -> None:
        self.answers = {"/api/version": {"version": "4", "ray_version": ray}}
        if python is not None:
            data = {"rayVersion": ray, "pythonVersion": python, "rayInitCluster": False}
            self.answers["/api/v0/cluster_metadata"] = {"result": True, "msg": "", "data": data}


@pytest.fixture
def head() -> Iterator[Head]:
    one = Head()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = one.answers.get(self.path)
            shown = self.headers.get("Authorization") == f"Bearer {one.token}"
            refused = bool(one.token) and self.path != "/api/version" and not shown
            body = json.dumps(told).encode()
            self.send_response(401 if refused else 404 if told is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        one.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield one
        server.shutdown()
        thread.join()


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(ray, "version", version)


def test_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ray="2.54.0")
    assert ray.ray(machine(tmp_path)).fact == "2.54.0"
    installed(monkeypatch)
    assert ray.ray(machine(tmp_path)).state is State.NONE


@pytest.mark.parametrize("here", ["2.60.0", ""])
def test_a_cluster_that_matches(tmp_path: Path, head: Head, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **({"ray": here} if here else {}))
    head.has("2.60.0")
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert found.state is State.OK, found
    assert found.fact.startswith(f"2.60.0 with Python {PYTHON} at {head.url}; ") and not found.remedy


def test_another_ray(tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ray="2.60.0")
    head.has("2.60.1")
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert found.state is State.WARN and "ray.init" in found.means
    assert found.remedy == f"uv pip install --python {sys.executable} ray==2.60.1"


@pytest.mark.parametrize("here", ["2.60.0", ""])
def test_another_python(tmp_path: Path, head: Head, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **({"ray": here} if here else {}))
    head.has("2.60.0", "3.1.4")
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert found.state is State.WARN and "2.60.0 with Python 3.1 at" in found.fact
    assert f"environment of Python {PYTHON}" in found.means and ("ray.init" in found.means) is bool(here)
    assert f"uv python install {PYTHON}" in found.remedy


def test_a_cluster_that_does_not_say_its_python(tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    head.has("2.60.0", None)
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert found.state is State.OK and "Python ? at" in found.fact


def test_a_cluster_that_is_too_old_or_refuses_or_is_not_there(tmp_path: Path, head: Head) -> None:
    head.has("2.9.3")
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert (found.state, found.means) == (State.WARN, "jobs of clusters on it wait")
    assert "2.50 or newer" in found.fact and "pip install" in found.remedy
    head.has("2.60.0")
    head.token = "t0k"
    found = ray.ray(machine(tmp_path, ray=head.url))
    assert found.state is State.WARN and "--ray-token-file" in found.remedy
    (file := tmp_path / "token").write_text("t0k\n")
    found = ray.ray(machine(tmp_path, ray=head.url, ray_token_file=str(file)))
    assert "2.60.0 with Python" in found.fact and "t0k" not in str(found)
    found = ray.ray(machine(tmp_path, ray=f"http://127.0.0.1:{free_port()}"))
    assert found.state is State.WARN and "cannot be reached" in found.fact and "--ray http://HOST:8265" in found.remedy


def test_a_head_of_its_own_that_has_not_begun(tmp_path: Path) -> None:
    found = ray.ray(machine(tmp_path, ray="local"))
    assert found.state is State.WARN and "has not begun" in found.fact and found.remedy.startswith("smalt up")
