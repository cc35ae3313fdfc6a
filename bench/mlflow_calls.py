"""What jobs do all the time to a run, against a stock `mlflow server` on the same kind of database, in one run.

    python bench/mlflow_calls.py [--connections 8] [--seconds 4] [--rounds 3] [--database postgresql://USER@HOST/NAME]
        [--stock-database postgresql://USER@HOST/OTHER]

Both get the same bytes from the same client over kept connections, in turns: the platform through Envoy and TLS with a
token, MLflow over plain HTTP. Prints calls per second, milliseconds (median, 99th percentile) and the ratio of the medians
of the rounds' rates; and of the processor's time in the servers' processes for one call, which holds beside other work, too.
`--only` chooses calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

import live
from live import Live

API = "/api/2.0/mlflow"
TARGETS = {"log-metric": 10.0, "log-batch x100": 10.0, "runs/get": 10.0, "runs/search": 3.0}
RUNS, METRICS, PARAMS = 200, 16, 8  # in the experiment that is searched; of the run that is read


@dataclass
class Side:
    """One server: where it is, and the run and experiment that are used."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str
    token: str
    experiment: str = ""
    run: str = ""
    number: int = 0
    processes: Callable[[], Iterable[int]] = list[int]  # their ids, of all that answers for it

    def message(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {self.prefix}{API}{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
        head += f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def next(self, name: str) -> bytes:
        """What the next call of this name sends."""
        self.number += 1
        if name == "runs/get":
            return self.message("GET", f"/runs/get?run_id={self.run}&run_uuid={self.run}")
        if name == "runs/search":
            asked = {"experiment_ids": [self.experiment], "max_results": 50, "order_by": ["attributes.start_time DESC"]}
            return self.message("POST", "/runs/search", json.dumps(asked).encode())
        if name == "log-metric":
            sent = {"run_id": self.run, "run_uuid": self.run, **self._metric("loss")}
            return self.message("POST", "/runs/log-metric", json.dumps(sent).encode())
        sent = {"run_id": self.run, "metrics": [self._metric(f"m{key}") for key in range(100)]}
        return self.message("POST", "/runs/log-batch", json.dumps(sent).encode())

    def _metric(self, key: str) -> dict[str, object]:
        return {"key": key, "value": self.number / 7, "timestamp": time.time_ns() // 1_000_000, "step": self.number}

    def fill(self) -> None:
        """The run that is read and logged to, and an experiment with many."""
        scheme, verify = ("https", self.tls) if self.tls else ("http", False)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        base = f"{scheme}://{self.host}:{self.port}{self.prefix}{API}"
        with httpx.Client(base_url=base, headers=headers, verify=verify, timeout=120, trust_env=False) as client:

            def post(path: str, **body: object) -> dict[str, object]:
                answer = client.post(path, json=body)
                return json.loads(answer.raise_for_status().content)

            self.experiment = str(post("/experiments/create", name=f"bench-{time.time_ns()}")["experiment_id"])
            metrics = [{"key": f"k{key}", "value": key, "timestamp": 1, "step": 0} for key in range(METRICS)]
            params = [{"key": f"p{key}", "value": "v"} for key in range(PARAMS)]
            for number in range(RUNS):
                made = post("/runs/create", experiment_id=self.experiment, start_time=number, run_name=f"r{number}")
                self.run = made["run"]["info"]["run_id"]  # pyright: ignore
                post("/runs/log-batch", run_id=self.run, metrics=metrics, params=params)
            other = str(post("/experiments/create", name=f"logged-{time.time_ns()}")["experiment_id"])
            made = post("/runs/create", experiment_id=other, start_time=1, run_name="logged")
            self.run = made["run"]["info"]["run_id"]  # pyright: ignore
            post("/runs/log-batch", run_id=self.run, metrics=metrics, params=params)


async def drive(side: Side, name: str, connections: int, seconds: float) -> list[float]:
    """Milliseconds of each call that was answered in the time."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection(side.host, side.port, ssl=side.tls)
        while (begun := time.perf_counter()) < end:
            writer.write(side.next(name))
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ", 2)[1]
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            body = await reader.readexactly(length)
            if status != b"200":
                raise SystemExit(f"{side.port} {name}: {status!r} {body[:500]!r}")
            taken.append(1000 * (time.perf_counter() - begun))
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return taken


@contextmanager
def stock(root: Path, database: str) -> Iterator[Side]:
    """`mlflow server` as it is installed, with its own defaults."""
    port = live.free_port()
    store = database or f"sqlite:///{root / 'stock.db'}"
    command = [
        str(Path(sys.executable).with_name("mlflow")),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        store,
        "--default-artifact-root",
        str(root / "artifacts"),
    ]
    with (root / "stock.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        yield Side("127.0.0.1", port, None, "", "", processes=lambda: _family(process.pid))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def platform(root: Path, database: str) -> Iterator[Side]:
    port = str(live.free_port())
    live.smalt("up", "--root", str(root), "--detach", "--port", port, *(["--database", database] if database else []))
    try:
        with Live.on(root) as made:
            _wait(f"{made.url}/mlflow/v1.0{made.workspace}{API}/experiments/search", made)
            made.at_rest()
            url = urlsplit(made.url)
            tls = ssl.create_default_context(cafile=str(made.ca))
            path = f"/mlflow/v1.0{made.workspace}"
            yield Side(url.hostname or "", url.port or 443, tls, path, made.token, processes=lambda: _platform(root))
    finally:
        live.smalt("down", "--root", str(root), "--all")


def _family(pid: int) -> list[int]:
    return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]


def _platform(root: Path) -> list[int]:
    return [one["pid"] for one in json.loads(live.smalt("status", "--root", str(root), "--json"))["processes"]]


def _cpu_s(pids: Iterable[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def _wait(url: str, made: Live | None = None) -> None:
    """Until it answers; on a busy machine that takes a while."""
    end, said = time.monotonic() + 300, ""
    while time.monotonic() < end:
        try:
            answer = made.api.get(url, params={"max_results": 1}) if made else httpx.get(url, timeout=5)
            if answer.status_code == 200:
                return
            said = answer.text
        except httpx.HTTPError as error:
            said = str(error)
        time.sleep(0.2)
    raise SystemExit(f"{url} does not answer: {said[:500]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", default="", help="an empty one of PostgreSQL, for the platform")
    parser.add_argument("--stock-database", default="", help="another one, for MLflow")
    parser.add_argument("--only", default=",".join(TARGETS))
    told = parser.parse_args()
    missed = False
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smalt-bench-")))
        ours = stack.enter_context(platform(scratch / "root", told.database))
        theirs = stack.enter_context(stock(scratch, told.stock_database))
        for side in (ours, theirs):
            side.fill()
        print(
            f"{'call':<16}{'MLflow, /s':>11}{'ms p50/p99':>16}{'ours, /s':>11}{'ms p50/p99':>16}{'ratio':>8}{'target':>8}"
            f"{'CPU ms':>15}{'ratio':>8}"
        )
        for name in told.only.split(","):
            rates: dict[int, list[float]] = {ours.port: [], theirs.port: []}
            times: dict[int, list[float]] = {ours.port: [], theirs.port: []}
            used: dict[int, float] = {ours.port: 0, theirs.port: 0}
            for number in range(told.rounds + 1):
                for side in (theirs, ours):
                    pids = side.processes()
                    begun, before = time.perf_counter(), _cpu_s(pids)
                    taken = asyncio.run(drive(side, name, told.connections, told.seconds if number else 1))
                    if number:  # the first warms up
                        rates[side.port].append(len(taken) / (time.perf_counter() - begun))
                        times[side.port] += taken
                        used[side.port] += _cpu_s(pids) - before
            rate = {port: statistics.median(one) for port, one in rates.items()}
            ratio = rate[ours.port] / rate[theirs.port]
            missed = missed or ratio < TARGETS[name]
            shown = [f"{rate[port]:>11.0f}{_spread(times[port]):>16}" for port in (theirs.port, ours.port)]
            each = {port: 1000 * used[port] / len(times[port]) for port in used}
            cpu = f"{each[theirs.port]:.1f} / {each[ours.port]:.1f}"
            costs = f"{cpu:>15}{each[theirs.port] / each[ours.port]:>8.1f}"
            print(f"{name:<16}{''.join(shown)}{ratio:>8.1f}{TARGETS[name]:>8.0f}{costs}", flush=True)
    print(json.dumps({"load": live.load()}))
    raise SystemExit(missed)


def _spread(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered):.1f} / {ordered[int(0.99 * (len(ordered) - 1))]:.1f}"


if __name__ == "__main__":
    main()
