"""A node of a Ray job: what the server asks of it, what its ranks run, and what is said to a raylet before it asks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from smalt.agent import ray
from smalt.agent.ranks import RankSpec, RaySpec
from smalt.agent.wire import TaskSpec

SPEC = RaySpec("127.0.0.2:20000", 2)
PORTS = {
    "metrics_agent_port": 4,
    "runtime_env_agent_port": 5,
    "dashboard_agent_listen_port": 6,
    "metrics_export_port": 7,
}


def script() -> Any:
    spec = importlib.util.spec_from_file_location("ray_node", ray.START)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_told_as_it_was_asked() -> None:
    task = TaskSpec(
        "n0", "/owner", command="train", ranks=[RankSpec(), RankSpec(None, ["ray", "start"], serves=True)], ray=SPEC
    )
    assert TaskSpec.from_json(task.to_json()) == task


def test_the_commands_rank_waits_and_the_other_starts_ray() -> None:
    waits = ray.argv(SPEC, RankSpec(), ["bash", "-c", "train"])
    assert waits == ["python", str(ray.START), "wait", "127.0.0.2:20000", "2", "bash", "-c", "train"]
    start = ["ray", "start", "--head", '--resources={"a": 1}']
    begins = ray.argv(SPEC, RankSpec(None, start, serves=True), [])
    assert begins[2:] == ["start", "--head", '--resources={"a": 1}'] and Path(begins[1]).exists()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What a raylet finds of the ports of its agents; of a `ray` that has nothing else."""
    found: dict[str, int] = {}
    names = {f"{name.upper()}_NAME": name for name in PORTS}
    raylet = SimpleNamespace(
        persist_port=lambda folder, node, name, port: found.update({f"{folder}/{node}/{name}": port}), **names
    )
    services = SimpleNamespace(start_ray_process=lambda command, kind: f"started {kind}")
    package, private = ModuleType("ray"), ModuleType("ray._private")
    package.__dict__.update(_raylet=raylet, _private=private)
    private.__dict__.update(services=services)
    for name, one in (
        ("ray", package),
        ("ray._raylet", raylet),
        ("ray._private", private),
        ("ray._private.services", services),
    ):
        monkeypatch.setitem(sys.modules, name, one)
    return found


def test_a_raylet_finds_the_ports_of_its_agents(said: dict[str, int]) -> None:
    script().write_ports_before(PORTS)
    start = sys.modules["ray._private.services"].start_ray_process
    assert start(["gcs"], "gcs_server") == "started gcs_server" and not said
    command = ["raylet", "--session_dir=/s", "--node_id=n", "--agent=python agent.py --listen-port=6"]
    assert start(command, "raylet") == "started raylet"
    assert said == {f"/s/n/{name}": port for name, port in PORTS.items()}


def test_where_agents_listen_nowhere_a_raylet_finds_that(said: dict[str, int]) -> None:
    """Those of a ray without its extras."""
    script().write_ports_before(PORTS)
    command = ["raylet", "--session_dir=/s", "--node_id=n", "--agent=python agent.py --minimal"]
    sys.modules["ray._private.services"].start_ray_process(command, "raylet")
    assert said == {f"/s/n/{name}": -1 for name in PORTS} | {"/s/n/runtime_env_agent_port": 5}


def test_an_older_raylet_does_not_look(said: dict[str, int]) -> None:
    del sys.modules["ray._raylet"].persist_port
    script().write_ports_before(PORTS)
    assert sys.modules["ray._private.services"].start_ray_process([], "raylet") == "started raylet" and not said
