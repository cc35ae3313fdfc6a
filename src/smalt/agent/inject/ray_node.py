"""What the nodes of a Ray job run, in the job's interpreter, with the ray of its environment.

ray_node.py start ARGUMENT…                `ray start`, which ends when one of the node's Ray processes dies
ray_node.py wait ADDRESS NODES COMMAND…    becomes the command once the cluster at ADDRESS has so many nodes
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

MISSING = (
    "ray is not installed in the environment of this job, and its distribution is Ray. Add 'ray[default]' to the pip"
    " dependencies of its conda file."
)
NOT_THERE = 127  # as a shell says it of a command
PAUSE_S = 0.1
# Those of a node's agents: the raylet asks for them by these names, the command line by those.
AGENT_PORTS = {
    "metrics_agent_port": "--dashboard-agent-grpc-port",
    "runtime_env_agent_port": "--runtime-env-agent-port",
    "dashboard_agent_listen_port": "--dashboard-agent-listen-port",
    "metrics_export_port": "--metrics-export-port",
}


def start(arguments: list[str]) -> None:
    given = dict(one.split("=", 1) for one in arguments if "=" in one)
    if "--head" not in arguments:
        until_it_listens(given["--address"])
    if importlib.util.find_spec("grpc") is None:  # a ray without its client refuses the client's port
        arguments = [one for one in arguments if not one.startswith("--ray-client-server-port=")]
    # All nodes end together: nothing of one moves to another.
    os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    temporary = Path(os.environ.get("TMPDIR", "/tmp"), "ray")
    sys.argv = ["ray", "start", "--block", f"--temp-dir={temporary}", *arguments]
    from ray.scripts.scripts import main  # type: ignore[import-not-found]

    write_ports_before({name: int(given[option]) for name, option in AGENT_PORTS.items()})
    main()


def write_ports_before(ports: dict[str, int]) -> None:
    """A raylet of newer versions gives its agents 15 s to write down their ports, and ends where they have not. On a
    busy machine their imports take longer. The ports are known: they are there when the raylet looks.
    """
    try:
        from ray import _raylet as raylet  # type: ignore[import-not-found]
        from ray._private import services  # type: ignore[import-not-found]

        start_process = services.start_ray_process
        native: Any = raylet  # no types
        known = {name: (getattr(native, f"{name.upper()}_NAME"), port) for name, port in ports.items()}
        persist = native.persist_port
    except (ImportError, AttributeError):
        return  # an older one, which does not look

    def starting(command: list[str], kind: str, *more: Any, **named: Any) -> Any:
        if kind == "raylet":
            told = dict(one[2:].split("=", 1) for one in command if one.startswith("--") and "=" in one)
            minimal = any("--minimal" in one for one in command)  # but for one its agents listen nowhere
            for name, (file, port) in known.items():
                nowhere = minimal and name != "runtime_env_agent_port"
                persist(told["session_dir"], told["node_id"], file, -1 if nowhere else port)
        return start_process(command, kind, *more, **named)

    services.start_ray_process = starting


def wait(address: str, nodes: int, command: list[str]) -> None:
    until_it_listens(address)
    from ray._raylet import GcsClient  # type: ignore[import-not-found]

    client = GcsClient(address=address)
    while alive(client) < nodes:
        time.sleep(PAUSE_S)
    os.execvp(command[0], command)


def alive(client: Any) -> int:
    """How many nodes have joined and not left."""
    found = client.get_all_node_info(timeout=60).values()
    return sum((one["state"] if isinstance(one, dict) else one.state) == 0 for one in found)  # older ones have dicts


def until_it_listens(address: str) -> None:
    """Without an end: whoever does not begin to listen ends, and then this is ended with it."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            with socket.create_connection((host, int(port)), 10):
                return
        except OSError:
            time.sleep(PAUSE_S)


def main() -> None:
    here = Path(__file__).resolve().parent  # its modules would hide the user's of the same names
    sys.path[:] = [one for one in sys.path if Path(one).resolve() != here]
    if importlib.util.find_spec("ray") is None:
        print(MISSING, file=sys.stderr)
        sys.exit(NOT_THERE)
    mode, *rest = sys.argv[1:]
    if mode == "start":
        start(rest)
    else:
        wait(rest[0], int(rest[1]), rest[2:])


if __name__ == "__main__":
    main()
