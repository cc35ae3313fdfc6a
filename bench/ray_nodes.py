"""From submit to the first line of a script on a node that Ray holds, against Ray Jobs' own submit of the same, by turns.

    python bench/ray_nodes.py --ray http://HOST:8265 [--root ROOT] [--rounds 10] [--folder DIR]

The Ray cluster is there already, on this machine, whose clock both use; it has Smalt in its Python. The script's first
line is the time at which it was written. Printed are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

import live
from live import Live

CLUSTER = "bench-rays"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
COMMAND = "python -c 'import time; print(time.time(), flush=True)'"
PAUSE_S = 0.05


def measure(platform: Live, ray: str, folder: str, rounds: int) -> dict[str, Any]:
    attach = ["compute", "attach", CLUSTER, "--root", str(platform.root), "--ray", ray, "--size", "Standard_DS1_v2"]
    live.smalt(*attach, "--min", "1", "--folder", folder)
    try:
        begun = time.time()
        while not any(one["nodeState"] == "idle" for one in platform.post(f"/computes/{CLUSTER}/listNodes")["nodes"]):
            time.sleep(PAUSE_S)
        node = time.time() - begun
        platform.put("/environments/bare/versions/1", {"image": IMAGE})
        run = f"r{time.time_ns():x}"
        _ours(platform, f"{run}-first")  # builds the environment
        with httpx.Client(base_url=ray, timeout=60) as head:
            pairs = [(_ours(platform, f"{run}-{n}"), _rays(head, f"{run}-{n}")) for n in range(rounds)]
    finally:
        live.smalt("compute", "detach", CLUSTER, "--root", str(platform.root))
    ours, theirs = zip(*pairs, strict=True)
    return {
        "first line ms": _median(ours),
        "worst ms": round(1000 * max(ours)),
        "ray jobs ms": _median(theirs),
        "node asked for and there s": round(node, 1),
        "load": live.load(),
    }


def _median(seconds: tuple[float, ...]) -> int:
    return round(1000 * statistics.median(seconds))


def _ours(platform: Live, name: str) -> float:
    environment = f"{platform.workspace}/environments/bare/versions/1"
    begun = time.time()
    platform.submit(name, COMMAND, environmentId=environment, computeId=f"{platform.workspace}/computes/{CLUSTER}")
    platform.completed(name)
    details = platform.api.get(f"{platform.url}/history/v1.0{platform.workspace}/runs/{name}/details").json()
    with platform.bare() as bare:
        return float(bare.get(details["logFiles"]["user_logs/std_log.txt"]).text.split()[0]) - begun


def _rays(head: httpx.Client, id_: str) -> float:
    begun = time.time()
    head.post("/api/jobs/", json={"submission_id": id_, "entrypoint": COMMAND}).raise_for_status()
    while head.get(f"/api/jobs/{id_}").json()["status"] in ("PENDING", "RUNNING"):
        time.sleep(PAUSE_S)
    return float(head.get(f"/api/jobs/{id_}/logs").json()["logs"].split()[-1]) - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", default="~/.smalt-ray")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch,
        live.started(arguments.root or Path(scratch) / "root") as platform,
    ):
        found = measure(platform, arguments.ray, arguments.folder, arguments.rounds)
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
