"""Two checkouts against each other, turn about: is anything worse than it was?

    python bench/compare.py BEFORE [AFTER] [--rounds 7] [--only get,job]

BEFORE and AFTER are checkouts with an environment (`uv sync`); AFTER is this one. Both platforms run at once and are asked in
turn, so that whatever else the machine does meets both. For each figure: the medians in ms, the median of the rounds' ratios
AFTER/BEFORE, and the spread of those ratios (the middle half's width). Worse is a ratio above 1.05 and above 1 + twice the spread;
then the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import live
from live import Live

HERE = Path(__file__).resolve().parents[1]
LISTED = 50
KIB = b"x" * 1024
ALLOWED = 1.05


def smalt(checkout: Path, *arguments: str) -> None:
    done = subprocess.run([checkout / ".venv/bin/smalt", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: smalt {' '.join(arguments)}: {done.stderr or done.stdout}")


@contextmanager
def running(checkout: Path, root: Path) -> Iterator[Live]:
    smalt(checkout, "up", "--root", str(root), "--detach", "--port", str(live.free_port()))
    try:
        with Live.on(root) as platform:
            yield platform
    finally:
        smalt(checkout, "down", "--root", str(root))


class Side:
    """One of the two: a method for each figure, which gives milliseconds of one round."""

    def __init__(self, checkout: Path, platform: Live, scratch: Path) -> None:
        self.checkout, self.platform, self.scratch = checkout, platform, scratch
        self.connection = platform.connection()
        self.number = 0
        platform.warm()
        platform.put("/environments/bare/versions/1", {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})
        for _ in range(LISTED + 10):
            self._submit()
        platform.at_rest()
        account = platform.get("/datastores/workspaceblobstore")["properties"]
        secret = platform.post("/datastores/workspaceblobstore/listSecrets")["sasToken"]
        name = account["accountName"].rpartition("/")[2]  # behind our host
        self.blobs = f"/{name}.blob.{account['endpoint']}/{account['containerName']}"
        self.sas = secret.removeprefix("?")
        for number in range(100):
            self._blob("PUT", f"/listed/{number}", KIB)
        runs = f"/mlflow/v1.0{platform.workspace}/api/2.0/mlflow/runs"
        self.metrics = f"{runs}/log-metric"
        made = self._send("POST", f"{runs}/create", json.dumps({"experiment_id": self._experiment()}).encode())
        self.run = json.loads(made)["run"]["info"]["run_id"]

    def _experiment(self) -> str:
        path = f"/mlflow/v1.0{self.platform.workspace}/api/2.0/mlflow/experiments/create"
        return json.loads(self._send("POST", path, json.dumps({"name": f"e{time.time_ns()}"}).encode()))[
            "experiment_id"
        ]

    def _send(self, method: str, path: str, body: bytes | None = None, token: bool = True, **headers: str) -> bytes:
        sent = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if token:
            sent["Authorization"] = f"Bearer {self.platform.token}"
        self.connection.request(method, path, body, sent)
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{self.checkout}: {method} {path}: {answer.status} {said[:500]!r}")
        return said

    def _arm(self, method: str, path: str) -> bytes:
        mark = "&" if "?" in path else "?"
        return self._send(method, f"{self.platform.workspace}{path}{mark}api-version={live.VERSION}")

    def _blob(self, method: str, path: str, body: bytes | None = None, query: str = "") -> bytes:
        headers = {"x_ms_version": "2023-11-03", "x_ms_blob_type": "BlockBlob"}
        return self._send(method, f"{self.blobs}{path}?{query}{self.sas}", body, token=False, **headers)

    def _submit(self) -> float:
        """Seconds from the PUT of a job to its end."""
        self.number += 1
        name = f"job-{self.number:05}"
        properties = {"jobType": "Command", "command": "true", "environmentId": "azureml:bare:1"}
        begun = time.perf_counter()
        self.platform.put(f"/jobs/{name}", properties)
        while json.loads(self._arm("GET", f"/jobs/{name}"))["properties"]["status"] not in live.ENDED:
            time.sleep(0.005)
        return time.perf_counter() - begun

    def up(self) -> float:
        """`smalt up` on a new root until it is ready; MLflow starts behind it."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            root = Path(folder) / "root"
            begun = time.perf_counter()
            smalt(self.checkout, "up", "--root", str(root), "--detach", "--port", str(live.free_port()))
            taken = time.perf_counter() - begun
            smalt(self.checkout, "down", "--root", str(root))
        return 1000 * taken

    def job(self) -> float:
        return 1000 * statistics.median(self._submit() for _ in range(8))

    def get(self) -> float:
        return _median(lambda: self._arm("GET", "/jobs/job-00001"), 200)

    def list_50(self) -> float:
        return _median(lambda: self._arm("GET", f"/jobs?$top={LISTED}"), 60)

    def put_data(self) -> float:
        def put() -> None:
            self.number += 1
            uri = "azureml://datastores/workspaceblobstore/paths/x/"
            self.platform.put(f"/data/d{self.number}/versions/1", {"dataUri": uri, "dataType": "uri_folder"})

        return _median(put, 60)

    def blob_put(self) -> float:
        return _median(lambda: self._blob("PUT", "/one", KIB), 200)

    def blob_get(self) -> float:
        return _median(lambda: self._blob("GET", "/one"), 200)

    def blob_head(self) -> float:
        return _median(lambda: self._blob("HEAD", "/one"), 200)

    def blob_list_100(self) -> float:
        return _median(lambda: self._blob("GET", "", query="restype=container&comp=list&prefix=listed/&"), 100)

    def log_metric(self) -> float:
        def log() -> None:
            self.number += 1
            metric = {"run_id": self.run, "key": "loss", "value": 0.5, "timestamp": self.number, "step": self.number}
            self._send("POST", self.metrics, json.dumps(metric).encode())

        return _median(log, 60)


FIGURES = (
    "up",
    "job",
    "get",
    "list_50",
    "put_data",
    "blob_put",
    "blob_get",
    "blob_head",
    "blob_list_100",
    "log_metric",
)


def _median(call: Callable[[], object], times: int) -> float:
    """Milliseconds."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def compare(before: Side, after: Side, rounds: int, figures: Sequence[str]) -> dict[str, dict[str, float | bool]]:
    found: dict[str, dict[str, float | bool]] = {}
    for name in figures:
        pairs: list[tuple[float, float]] = []
        for number in range(rounds + 1):
            order = (before, after) if number % 2 else (after, before)
            taken = {side: getattr(side, name)() for side in order}
            pairs.append((taken[before], taken[after]))
        del pairs[0]  # both warm up
        ratios = [new / old for old, new in pairs]
        quarters = statistics.quantiles(ratios, n=4, method="inclusive")
        ratio, spread = statistics.median(ratios), quarters[2] - quarters[0]
        found[name] = {
            "before ms": round(statistics.median(old for old, _ in pairs), 2),
            "after ms": round(statistics.median(new for _, new in pairs), 2),
            "ratio": round(ratio, 3),
            "spread": round(spread, 3),
            "worse": ratio > max(ALLOWED, 1 + 2 * spread),
        }
        print(f"{name:14} {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=HERE)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join(FIGURES), help="figures, separated by commas")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smalt-bench-")))
        sides: list[Side] = []
        for name, checkout in (("before", arguments.before.resolve()), ("after", arguments.after.resolve())):
            platform = stack.enter_context(running(checkout, scratch / name))
            sides.append(Side(checkout, platform, scratch))
        found = compare(sides[0], sides[1], arguments.rounds, arguments.only.split(","))
    print(json.dumps({**found, "load": live.load()}, indent=1))
    raise SystemExit(any(one["worse"] for one in found.values()))


if __name__ == "__main__":
    main()
