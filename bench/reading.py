"""GET of a resource and a list of 50 jobs, in a small workspace and in one with 100,000 jobs.

    python bench/reading.py [--root ROOT] [--jobs 100000] [--rounds 500] [--json]

One keep-alive connection through Envoy and TLS with a token; milliseconds. The jobs are copies of one that ran, written with the
store's own functions while the platform is stopped, so the root should be one for benchmarks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import live
from live import Live
from smalt.config import read_settings
from smalt.store import resources
from smalt.store.database import Database

LIST = "/jobs?listViewType=ActiveOnly&$top=50"
SAMPLE = "bench-sample"


def measure(root: Path, jobs: int, rounds: int) -> dict[str, Any]:
    with live.started(root) as platform:
        if platform.api.get(f"{platform.workspace}/jobs/{SAMPLE}").status_code == 404:
            platform.submit(SAMPLE, "echo hello")
        platform.completed(SAMPLE)
        workspace = platform.workspace
        small = _all(platform, rounds)
    added = fill(root, workspace, jobs)
    with live.started(root) as platform:
        large = _all(platform, rounds)
        assert len(platform.get(LIST)["value"]) == 50
    return {"few jobs": small, f"{jobs} jobs": large, "filling s": round(added, 1), "load": live.load()}


def _all(platform: Live, rounds: int) -> dict[str, Any]:
    return {
        "GET a job": timed(platform, f"{platform.workspace}/jobs/{SAMPLE}", rounds),
        "GET the workspace": timed(platform, platform.workspace, rounds),
        "list 50 jobs": timed(platform, platform.workspace + LIST, max(20, rounds // 5)),
        "GET /healthz (no token, no database)": timed(platform, "/healthz", rounds),
    }


def timed(platform: Live, path: str, rounds: int) -> dict[str, float]:
    """Milliseconds of GETs one after the other on one connection; the first ten warm up."""
    connection = platform.connection()
    headers = {"Authorization": f"Bearer {platform.token}"}
    url = path + ("&" if "?" in path else "?") + f"api-version={live.VERSION}"
    times: list[float] = []
    for _ in range(rounds + 10):
        begun = time.perf_counter()
        connection.request("GET", url, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        times.append(1000 * (time.perf_counter() - begun))
        if answer.status != 200:
            raise SystemExit(f"GET {path}: {answer.status} {body[:500]!r}")
    connection.close()
    return {"p50 ms": round(statistics.median(times[10:]), 2), "p99 ms": round(live.quantile(times[10:], 0.99), 2)}


def fill(root: Path, workspace: str, wanted: int) -> float:
    """Copies of the sample until there are `wanted` jobs, in one transaction; the seconds it took."""
    database = Database(read_settings(root).database)
    begun = time.perf_counter()
    with database.write() as connection:
        sample = resources.get(connection, f"{workspace}/jobs/{SAMPLE}")
        if sample is None:
            raise SystemExit(f"{root} has no job {SAMPLE}")
        have = len([one for one in resources.children(connection, sample.parent) if "/jobs/" in one])
        for number in range(have, wanted):
            name = f"filled-{number:06}"
            resources.insert(
                connection,
                key=f"{sample.parent}/jobs/{name}",
                written=f"{workspace}/jobs/{name}",
                kind=sample.kind,
                parent=sample.parent,
                name=name,
                spec=sample.spec,
                status=sample.status,
                state=sample.state,
                now=sample.created_at - wanted + number,
                by=sample.created_by,
            )
    database.close()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="(the output is JSON)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as scratch:
        root = arguments.root or Path(scratch) / "root"
        print(json.dumps(measure(root, arguments.jobs, arguments.rounds), indent=1))


if __name__ == "__main__":
    main()
