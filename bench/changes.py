"""Requests that fail while an endpoint is changed: flips of its traffic and rolling updates, under load.

    python bench/changes.py [--root ROOT] [--python PREFIX/bin/python] [--flips 50] [--updates 10] [--requests 100000]

Two deployments of a registered model without code, one instance each, through TLS, key and Envoy, with 8 connections of `wrk`.
A flip takes all traffic from one to the other; an update replaces the instance that gets the traffic. Load goes on until all
changes are made and all requests sent. The exit code is 1 where a request failed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import deployment
import needs
import serving

import live
from live import Live

CONNECTIONS = 8
BURST_S = 5
_COUNTED = re.compile(r"(\d+) requests in")
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


class Load:
    """`wrk`, again and again."""

    def __init__(self, url: str, script: Path) -> None:
        self._command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{BURST_S}s", "--timeout", "30s", "-s", str(script), url]
        self.sent = 0
        self.failed: list[str] = []

    def burst(self) -> None:
        done = subprocess.run(self._command, capture_output=True, text=True, check=True)
        count = _COUNTED.search(done.stdout)
        assert count is not None, done.stdout
        self.sent += int(count[1])
        self.failed += [one[0] for one in _FAILED.finditer(done.stdout)]


def measure(platform: Live, python: Path, scratch: Path, flips: int, updates: int, requests: int) -> dict[str, Any]:
    model, script = scratch / "model", scratch / "key.lua"
    subprocess.run([python, "-c", deployment.TRAIN, model, ",".join(serving.NAMES)], check=True, capture_output=True)
    key = deployment.prepare(platform, model)
    deploy(platform, "green", 0)
    script.touch(0o600)
    script.write_text(f"{serving.post(serving.BODY)} wrk.headers['Authorization']='Bearer {key}'")
    load = Load(f"{platform.url}/endpoints/{deployment.ENDPOINT}/score", script)
    took: dict[str, list[float]] = {"flip": [], "update": []}
    made = threading.Event()

    def change() -> None:
        try:
            for at in range(max(flips, updates)):
                gets = ("green", "blue")[at % 2]
                if at < flips:
                    took["flip"].append(_seconds(lambda gets=gets: flip(platform, gets)))
                if at < updates:
                    took["update"].append(_seconds(lambda gets=gets, at=at: deploy(platform, gets, at + 1)))
        finally:
            made.set()

    changing = threading.Thread(target=change)
    changing.start()
    while not made.is_set() or load.sent < requests:
        load.burst()
    changing.join()
    assert (len(took["flip"]), len(took["update"])) == (flips, updates), "a change failed"
    platform.removed(f"/onlineEndpoints/{deployment.ENDPOINT}")
    slowest = {f"slowest {name} s": round(max(times, default=0.0), 2) for name, times in took.items()}
    return {"requests": load.sent, "failed": load.failed, "flips": flips, "updates": updates, **slowest}


def flip(platform: Live, gets: str) -> None:
    path, traffic = f"/onlineEndpoints/{deployment.ENDPOINT}", {"blue": 0, "green": 0, gets: 100}
    platform.put(path, {"authMode": "Key", "traffic": traffic}, location="local")
    platform.settled(path)


def deploy(platform: Live, name: str, release: int) -> None:
    path = f"/onlineEndpoints/{deployment.ENDPOINT}/deployments/{name}"
    properties = {
        "model": f"{platform.workspace}/models/{deployment.MODEL}/versions/1",
        "instanceType": "Standard_DS3_v2",
        "environmentVariables": {"RELEASE": str(release)},
    }
    platform.put(path, properties, location="local", sku={"name": "Default", "capacity": 1})
    platform.settled(path)


def _seconds(what: Any) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--python", type=Path, help="an interpreter with the reference server (see bench/serving.py)")
    parser.add_argument("--flips", type=int, default=50)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--requests", type=int, default=100_000)
    asked = parser.parse_args()
    needs.check(["deployment"], None, asked.python)
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        scratch = Path(name)
        python = asked.python or serving.make_environment(scratch)
        with live.started(asked.root or scratch / "root") as platform:
            found = measure(platform, python, scratch, asked.flips, asked.updates, asked.requests)
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["failed"] else 0)


if __name__ == "__main__":
    main()
