"""What a model without code carries behind the gateway, against what the gateway carries by itself, by turns.

    python bench/ceiling.py [--python PREFIX/bin/python] [--rounds 5] [--seconds 3] [--connections 8] [--json]

Four servers, one row, one worker each, driven by `wrk`: `reference` is azureml-inference-server-http on plain HTTP, `model` our
inference server behind the gateway as endpoints are (Envoy, TLS, key), `nothing` the same gateway before an upstream that answers
at once (an Envoy with a direct response), `direct` our inference server on plain HTTP. Each round asks all of them, and the medians count.
Beside requests a second there is the processor's time of one request, in µs: of the gateway, and of the server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import needs
import psutil
import serving

from smalt.agent.wire import Address
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.auth.certificates import ensure_certificates
from smalt.auth.tokens import TokenService
from smalt.gateway.bootstrap import binary, command
from smalt.gateway.envoy_gateway import EnvoyGateway
from smalt.settings import Settings

KEY = "bench-key-0123456789"
ANSWER = "[0]"
START_S = 60.0
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def measure(python: Path, folder: Path, rounds: int, seconds: int, connections: int) -> dict[str, dict[str, float]]:
    subprocess.run(
        [python, "-c", serving.TRAIN, folder / "model", ",".join(serving.NAMES)], check=True, capture_output=True
    )
    (folder / "score.py").write_text(serving.SCORE)
    launch, sockets = folder / "mlflow.launch", {name: folder / f"{name}.sock" for name in ("model", "nothing")}
    shared = {"model_dir": str(folder / "model"), "app_root": str(folder)}
    launch.write_text(json.dumps({"mode": "mlflow", **shared}))
    port, reference_port = serving.free_port(), serving.free_port()
    reference = [python, "-m", "azureml_inference_server_http", "--entry_script", "score.py", "--port", reference_port]
    model = [python, serving.SERVE, "--socket", sockets["model"], "--port", port, "--config", launch]
    plain, with_key = folder / "plain.lua", folder / "key.lua"
    plain.write_text(serving.post(serving.BODY))
    with_key.write_text(f"{serving.post(serving.BODY)} wrk.headers['Authorization']='Bearer {KEY}'")
    with (
        serving.running(reference, folder) as one,
        serving.running(model, folder) as two,
        serving.running(nothing(folder, sockets["nothing"]), folder) as three,
        gateway(folder / "root", sockets) as (url, envoy),
    ):
        servers: dict[str, tuple[str, Path, subprocess.Popen, Sequence[subprocess.Popen]]] = {
            "reference": (f"http://127.0.0.1:{reference_port}/score", plain, one, ()),
            "model": (f"{url}/endpoints/model/score", with_key, two, [envoy]),
            "nothing": (f"{url}/endpoints/nothing/score", with_key, three, [envoy]),
            "direct": (f"http://127.0.0.1:{port}/score", plain, two, ()),
        }
        serving.wait_for(f"http://127.0.0.1:{reference_port}/", one)
        serving.wait_for(f"http://127.0.0.1:{port}/", two)
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, (address, script, server, through) in servers.items():
                taken[name].append(_turn(address, script, server, through, seconds, connections))
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in taken.items()
    }


def _turn(
    url: str, script: Path, server: subprocess.Popen, through: Sequence[subprocess.Popen], seconds: int, count: int
) -> dict[str, float]:
    before = _used(server), sum(map(_used, through))
    found = serving.wrk(url, count, script, seconds)
    after = _used(server), sum(map(_used, through))
    requests = found["requests_per_s"] * (seconds + 1)  # `wrk` warms up for a second
    used = [(late - early) * 1e6 / requests for early, late in zip(before, after, strict=True)]
    return {**found, "server_us": used[0], "gateway_us": used[1]}


def _used(process: subprocess.Popen) -> float:
    """Seconds of the processor, with its children's."""
    parent = psutil.Process(process.pid)
    return sum(sum(one.cpu_times()[:2]) for one in [parent, *parent.children(recursive=True)])


@contextmanager
def gateway(root: Path, sockets: dict[str, Path]) -> Iterator[tuple[str, subprocess.Popen]]:
    """A platform's Envoy alone, with an endpoint for each socket; its URL."""
    with standing(root) as (made, url, process):
        version = made.apply([_endpoint(name, path) for name, path in sockets.items()])
        until(lambda: made.in_force(version), root)
        yield url, process


@contextmanager
def standing(root: Path) -> Iterator[tuple[EnvoyGateway, str, subprocess.Popen]]:
    settings = Settings(root, "localhost", serving.free_port())
    ensure_certificates(settings)
    made = EnvoyGateway(settings, TokenService(settings))
    made.write_bootstrap()
    with serving.running(command(settings.envoy_bootstrap), root) as process:
        until(made.listening, root)
        yield made, settings.url, process


def until(holds: Callable[[], bool], root: Path) -> None:
    end = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < end, (root / "log").read_text()
        time.sleep(0.02)


def _endpoint(name: str, path: Path) -> EndpointRoute:
    deployment = DeploymentRoute("blue", [Address(f"unix:{path}")], 60, 1)
    return EndpointRoute(name, [KEY], {"blue": 100}, {}, [deployment])


def nothing(folder: Path, path: Path) -> list[Any]:
    """An Envoy with one thread that answers everything by itself."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": ANSWER}}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "nothing",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "nothing", "address": {"pipe": {"path": str(path)}}, "filter_chains": [chain]}
    (folder / "nothing.json").write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    config = ["--config-path", folder / "nothing.json", "--disable-hot-restart"]
    return [binary(), *config, "--concurrency", "1", "--log-level", "warning"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an interpreter that has the packages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="for each measurement")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    needs.check(["deployment"], None, asked.python)
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        folder = Path(name)
        python = asked.python or serving.make_environment(folder)
        found = measure(python, folder, asked.rounds, asked.seconds, asked.connections)
    if asked.json:
        print(json.dumps({**found, "load": os.getloadavg()}, indent=1))
        return
    for server, one in found.items():
        ratio = one["requests_per_s"] / found["reference"]["requests_per_s"]
        figures = f"{one['requests_per_s']:8.0f} req/s  p50 {one['p50_ms']:6.2f} ms  p99 {one['p99_ms']:6.2f} ms"
        used = f"gateway {one['gateway_us']:5.0f} µs  server {one['server_us']:5.0f} µs"
        print(f"{server:10} {figures}  {used}  {ratio:5.2f} x reference")
    print(f"model: {found['model']['requests_per_s'] / found['nothing']['requests_per_s']:.0%} of nothing")


if __name__ == "__main__":
    main()
