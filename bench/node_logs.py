"""How far behind is the log of a job on a node, as the platform has it, while the job writes 10,000 lines a second?

    python bench/node_logs.py [--root ROOT] [--lines 10000] [--seconds 20] [--rounds 3]

The node is a service on this machine that dials in over loopback (`smalt node run`), with a root of its own; the
platform keeps its blobs in a folder, and the log's file there is read. Each line is the time at which it was written.
Printed are, in milliseconds, how old lines were when they were there (median, 99 of 100, the oldest of all), how soon
the first was, which comes after quiet, and how many times the file had grown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import live
from live import Live

CLUSTER = "bench-far"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
WRITE = """
import sys, time
lines, seconds = {lines}, {seconds}
print(time.time(), flush=True)
time.sleep(2)
begun = time.time()
for tick in range(seconds * 100):
    time.sleep(max(0, begun + tick / 100 - time.time()))
    sys.stdout.write(f"{{time.time()}}\\n" * (lines // 100))
    sys.stdout.flush()
"""


@contextmanager
def node(platform: Live, root: Path) -> Iterator[None]:
    platform.put(f"/computes/{CLUSTER}", {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}},
    }, location="local")  # fmt: skip
    platform.settled(f"/computes/{CLUSTER}")
    token = root / "node.json"
    at = ["--root", str(platform.root)]
    live.smalt("node", "add", "bench-n1", "--compute", CLUSTER, "--token-file", str(token), *at)
    command = [str(live.SMALT), "node", "run", "--token-file", str(token), "--root", str(root / "node")]
    try:
        with (root / "node.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as service:
            try:
                yield
            finally:
                service.terminate()
    finally:
        live.smalt("node", "remove", "bench-n1", *at)


def measure(platform: Live, lines: int, seconds: int, rounds: int) -> list[dict[str, Any]]:
    platform.put("/environments/bare/versions/1", {"image": IMAGE})
    run = f"r{time.time_ns():x}"
    _submit(platform, f"{run}-first", "true")  # builds the environment
    platform.completed(f"{run}-first")
    found: list[dict[str, Any]] = []
    for n in range(rounds):
        name = f"{run}-{n}"
        _submit(platform, name, f"python -c '{WRITE.format(lines=lines, seconds=seconds)}'")
        found.append(_read(platform.root / "blobs", name, lines * seconds + 1, seconds + 60))
        platform.completed(name)
    return found


def _submit(platform: Live, name: str, command: str) -> None:
    environment = f"{platform.workspace}/environments/bare/versions/1"
    compute = f"{platform.workspace}/computes/{CLUSTER}"
    platform.submit(name, command, environmentId=environment, computeId=compute)


def _read(blobs: Path, name: str, count: int, limit_s: float) -> dict[str, Any]:
    """As the blob's file grows. The first line says how soon one is there that comes after quiet."""
    end, ages, grown, rest = time.monotonic() + limit_s, list[float](), 0, b""
    with _opened(blobs, name, end) as file:
        while len(ages) < count and time.monotonic() < end:
            data, now = file.read(), time.time()
            if not data:
                time.sleep(0.002)
                continue
            *lines, rest = (rest + data).split(b"\n")
            ages += [now - float(line) for line in lines]
            grown += 1
    if len(ages) < count:
        raise SystemExit(f"{len(ages)} of {count} lines came")
    first, ages = ages[0], sorted(ages[1:])
    ranks = {"median": 0.5, "99 of 100": 0.99, "oldest": 1.0}
    told = {key: round(1000 * ages[min(int(at * len(ages)), len(ages) - 1)]) for key, at in ranks.items()}
    return {"first": round(1000 * first), **told, "times it grew": grown, "load": live.load()}


def _opened(blobs: Path, name: str, end: float) -> BinaryIO:
    while time.monotonic() < end:
        for found in blobs.glob(f"*/*/ExperimentRun/dcid.{name}/user_logs/std_log.txt"):
            return found.open("rb")
        time.sleep(0.005)
    raise SystemExit("the job has no log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--lines", type=int, default=10_000, help="a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch,
        live.started(given.root or Path(scratch) / "root") as platform,
        node(platform, Path(scratch)),
    ):
        for found in measure(platform, given.lines, given.seconds, given.rounds):
            print(json.dumps(found))


if __name__ == "__main__":
    main()
