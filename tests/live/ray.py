"""A Ray cluster on this machine: a head that runs nothing, and nodes whose disks seem to be their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from live.platform import eventually
from live.ports import free_port

_PATIENCE = ("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "RAY_raylet_start_wait_time_s")  # a machine may have much else to do


_PORTS = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")


@contextlib.contextmanager
def _lean(ports: Mapping[str, int]) -> Iterator[None]:
    """A dashboard is ten processes, of which three are needed. A raylet gives its agents 15 s to write down their ports,
    which a busy machine may need for their imports alone: they are known before."""
    from ray import _raylet
    from ray._private import services

    start = services.start_ray_process

    def starting(command: list[str], kind: str, *more: Any, **named: Any) -> Any:
        if kind == "dashboard":
            command = [*command, "--modules-to-load=JobHead,NodeHead,StateHead"]
        if kind == "raylet":
            told = dict(one.removeprefix("--").split("=", 1) for one in command if "=" in one)
            for name, port in ports.items():
                _raylet.persist_port(
                    told["session_dir"], told["node_id"], getattr(_raylet, f"{name.upper()}_NAME"), port
                )
        return start(command, kind, *more, **named)

    services.start_ray_process = starting
    try:
        yield
    finally:
        services.start_ray_process = start


class RayCluster:
    """`url` is its dashboard; its processes have a home of its own. Nothing connects to it here: Ray ends a process that does when its head is gone."""

    def __init__(self, **head: Any) -> None:
        for name in _PATIENCE:  # read when Ray is imported
            os.environ.setdefault(name, "240")
        os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else workers of what is below a `uv run` start by that, too
        from ray.cluster_utils import Cluster

        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: its sockets lie below
        os.environ["RAY_TMPDIR"] = str(self._folder)
        (self._folder / "ray").mkdir()
        self._cluster = Cluster()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._add(num_cpus=0, include_dashboard=True, dashboard_port=port, dashboard_host="127.0.0.1", **head)

    @property
    def machines(self) -> list[Any]:
        """All but the head."""
        return list(self._cluster.worker_nodes)

    def add(self, cpus: int = 1) -> Any:
        return self._add(num_cpus=cpus)

    def _add(self, **parameters: Any) -> Any:
        with variable("HOME", str(self._folder)), _lean(ports := {name: free_port() for name in _PORTS}):
            return self._cluster.add_node(
                wait=False, object_store_memory=80 << 20, include_log_monitor=False, **ports, **parameters
            )

    def kill(self, node: Any) -> None:
        """A machine dies: its raylet, and all that Ray runs there, at once."""
        processes = raylet(node).children(recursive=True)
        node.kill_raylet(check_alive=False)
        for one in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def actors(self) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/v0/actors", params={"detail": "1"}, timeout=30).json()
        return [one for one in answer["data"]["result"]["result"] if one["class_name"] == "Node"]

    def groups(self) -> list[str]:
        """The names of placement groups that hold room, or wait for it."""
        answer = requests.get(f"{self.url}/api/v0/placement_groups", timeout=30).json()
        return [one["name"] for one in answer["data"]["result"]["result"] if one["state"] != "REMOVED"]

    def wait_for_nodes(self, count: int) -> None:
        def there() -> bool:
            answer = requests.get(f"{self.url}/api/v0/nodes", timeout=30).json()
            return sum(one["state"] == "ALIVE" for one in answer["data"]["result"]["result"]) >= count

        eventually(there, f"{count} Ray nodes", 180, 0.5)

    def end(self) -> None:
        """And all that outlives Ray where nodes were made in its home."""
        with contextlib.suppress(Exception):
            self._cluster.shutdown()
        for one in psutil.process_iter(["cmdline"]):
            if str(self._folder) in " ".join(one.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


@contextlib.contextmanager
def own_python_first() -> Iterator[None]:
    """What Ray runs as `python` is this one."""
    with variable("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"):
        yield


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    before = os.environ[name]
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ[name] = before
