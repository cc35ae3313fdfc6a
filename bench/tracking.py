"""What the edge costs: MLflow's calls through it (TLS, token, workspace) and straight on MLflow's socket, in one run.

    python bench/tracking.py [--calls N] [--database postgresql://USER@HOST/NAME]

Prints milliseconds (median, 95th percentile) for each call and way, MLflow's start, its idle memory, and MiB/s of an artifact.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import uvicorn

from smalt.arm.hub import Hub
from smalt.arm.ids import workspace_id
from smalt.arm.models import ModelRows
from smalt.arm.ports import Principal, RunSpec
from smalt.arm.runs import JobRuns
from smalt.auth.access import authorize
from smalt.auth.certificates import ensure_certificates
from smalt.auth.keyring import Keyring
from smalt.auth.tokens import TokenService, arm_audiences
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.cli.root import remember
from smalt.settings import TENANT, Settings
from smalt.store.database import Database
from smalt.store.tables import metadata
from smalt.tracking.address import mlflow_name, tracking_uri
from smalt.tracking.database.migration import prepare
from smalt.tracking.edge.app import TrackingApp
from smalt.tracking.process.mlflow_server import command
from smalt.tracking.runs.runs import MlflowTracking

WORKSPACE = workspace_id("00000000-0000-0000-0000-000000000001", "smalt", "default")
API = "/api/2.0/mlflow"
ARTIFACT_MIB = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--database", default="", help="an empty one")
    told = parser.parse_args()
    calls, root = told.calls, tempfile.TemporaryDirectory()
    with root as folder, platform(Path(folder), told.database) as (settings, tracking, edge_client, process):
        tracking.ensure_run(RunSpec(WORKSPACE.key, "bench", "bench"))
        direct = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(settings.mlflow_socket)),
            base_url="http://mlflow",
            headers={"X-MLFLOW-WORKSPACE": mlflow_name(WORKSPACE)},
            timeout=60,
        )
        print(f"MLflow idle: {psutil.Process(process.pid).memory_info().rss >> 20} MiB resident")
        print(f"{'call':<18}{'MLflow alone':>18}{'through the edge':>20}   (ms: median / p95)")
        for name in ("runs/get", "log-metric", "log-batch x100", "runs/search"):
            alone, through = (measure(call(client, name), calls) for client in (direct, edge_client))
            print(f"{name:<18}{alone:>18}{through:>20}")
        transfer(edge_client, tracking.artifact_uri(WORKSPACE.key, "bench"))


def call(client: httpx.Client, name: str) -> Callable[[int], httpx.Response]:
    def metric(key: str, step: int) -> dict[str, object]:
        return {"key": key, "value": step, "timestamp": time.time_ns() // 1000, "step": step}

    return {
        "runs/get": lambda _: client.get(f"{API}/runs/get", params={"run_id": "bench"}),
        "log-metric": lambda n: client.post(f"{API}/runs/log-metric", json={"run_id": "bench", **metric("m", n)}),
        "log-batch x100": lambda n: client.post(
            f"{API}/runs/log-batch", json={"run_id": "bench", "metrics": [metric(f"b{k}", n) for k in range(100)]}
        ),
        "runs/search": lambda _: client.post(f"{API}/runs/search", json={"experiment_ids": ["2"]}),
    }[name]


def measure(one: Callable[[int], httpx.Response], calls: int) -> str:
    times: list[float] = []
    for number in range(calls + 10):
        began = time.perf_counter()
        one(number).raise_for_status()
        times.append(1000 * (time.perf_counter() - began))
    ordered = sorted(times[10:])
    return f"{statistics.median(ordered):.1f} / {ordered[int(0.95 * len(ordered))]:.1f}"


def transfer(client: httpx.Client, uri: str) -> None:
    block = os.urandom(1 << 20)
    began = time.perf_counter()
    client.put(f"{uri}/large.bin", content=(block for _ in range(ARTIFACT_MIB))).raise_for_status()
    up = ARTIFACT_MIB / (time.perf_counter() - began)
    began = time.perf_counter()
    with client.stream("GET", f"{uri}/large.bin") as answer:
        received = sum(len(chunk) for chunk in answer.iter_raw())
    down = (received >> 20) / (time.perf_counter() - began)
    print(f"artifact of {ARTIFACT_MIB} MiB: up {up:.0f} MiB/s, down {down:.0f} MiB/s")


@contextmanager
def platform(root: Path, url: str) -> Iterator[tuple[Settings, MlflowTracking, httpx.Client, subprocess.Popen[bytes]]]:
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(root, "localhost", listener.getsockname()[1], url)
    remember(settings)
    database = Database(settings.database)
    with database.write() as connection:
        metadata.create_all(connection)
    tokens = TokenService(settings)
    tracking = MlflowTracking(settings, lambda _: "bench")
    blobs = BlobAccounts(Accounts(database, Keyring(settings)), FolderStore(settings.blobs))
    app = TrackingApp(
        settings,
        tracking,
        tokens,
        blobs,
        files=blobs,
        audiences=arm_audiences(settings),
        exists=lambda _: True,
        authorize=authorize,
        models=ModelRows(database, Hub(), time.time),
        jobs=JobRuns(database, tracking, time.time),
        patience_s=60,
    )
    prepare(settings)
    began = time.perf_counter()
    process = subprocess.Popen(command(settings), stdout=(root / "mlflow.log").open("wb"), stderr=subprocess.STDOUT)
    files = ensure_certificates(settings)
    config = uvicorn.Config(app, log_level="warning", ssl_certfile=files.server, ssl_keyfile=files.server_key)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    principal = Principal("00000000-0000-0000-0000-00000000000b", "bench", "owner", TENANT)
    token = tokens.issue(principal, settings.url, 3600)
    try:
        with httpx.Client(
            base_url=tracking_uri(settings, WORKSPACE),
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=files.ca),
            timeout=90,
        ) as client:
            client.get(f"{API}/experiments/get-by-name?experiment_name=Default").raise_for_status()
            print(f"MLflow on a new root answers after {time.perf_counter() - began:.1f} s")
            yield settings, tracking, client, process
    finally:
        server.should_exit = True
        thread.join(10)
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
