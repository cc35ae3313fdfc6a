"""Rows in files through a batch endpoint, against a bare multiprocessing pool with the same script and model in the same run.

    python bench/batch.py [--rows 20000000] [--files 200] [--processes 2] [--json]

Each file is CSV of 8 numbers a row; a model of 9 numbers gives each row a probability. The pool has so many processes, one file at a
time each, and writes the rows to one file, as the job does with `append_row`. The job's seconds are from the request to its end, all
included: queue, node, the driver and its worker processes; the pool's are from its start, interpreters included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import runpy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy

import live

TARGET, FEATURES = 0.9, 8
SCRIPT = """
import os
import numpy

def init():
    global weights
    weights = numpy.loadtxt(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "weights.txt"))

def run(mini_batch):
    rows = []
    for path in mini_batch:
        name, data = os.path.basename(path), numpy.loadtxt(path, delimiter=",")
        rows += [f"{name},{one:.6f}" for one in 1 / (1 + numpy.exp(-(data @ weights[1:] + weights[0])))]
    return rows
"""


@dataclass(frozen=True)
class Figures:
    rows: int
    files: int
    processes: int
    pool_s: float
    job_s: float
    ratio: float
    load: float


def _begin(script: str, model: str) -> None:
    global _script
    os.environ["AZUREML_MODEL_DIR"] = model
    _script = runpy.run_path(script)
    _script["init"]()


def _score(file: str) -> str:
    return "".join(f"{row}\n" for row in _script["run"]([file]))


def pool(script: Path, models: Path, files: Sequence[str], processes: int, target: Path) -> float:
    begun = time.perf_counter()
    given = (str(script), str(models))
    with multiprocessing.get_context("spawn").Pool(processes, _begin, given) as workers, target.open("w") as file:
        for text in workers.imap(_score, files):
            file.write(text)
    return time.perf_counter() - begun


def endpoint(platform: live.Live, folder: Path, processes: int) -> None:
    platform.put("/codes/score/versions/1", {"codeUri": platform.upload("codes", "score", folder / "src")})
    model = {"modelUri": platform.upload("models", "line", folder / "models" / "model"), "modelType": "custom_model"}
    platform.put("/models/line/versions/1", model)
    platform.put("/batchEndpoints/nightly", {"authMode": "AADToken"})
    code = {"codeId": "azureml:score:1", "scoringScript": "score.py"}
    deployment = {
        "model": {"referenceType": "Id", "assetId": "azureml:line:1"},
        "codeConfiguration": code,
        "miniBatchSize": 1,
        "environmentId": live.ENVIRONMENT,
        "compute": "serverless",
        "maxConcurrencyPerInstance": processes,
        "retrySettings": {"timeout": "PT10M"},
    }
    platform.put("/batchEndpoints/nightly/deployments/line", deployment)
    platform.settled("/batchEndpoints/nightly/deployments/line")
    platform.put("/batchEndpoints/nightly", {"defaults": {"deploymentName": "line"}})


def ask(platform: live.Live, uri: str) -> tuple[float, dict[str, Any]]:
    begun = time.perf_counter()
    data = {"data": {"jobInputType": "UriFolder", "uri": uri}}
    job = platform.post("/batchEndpoints/nightly/jobs", {"properties": {"inputData": data}})
    found = platform.completed(job["name"], 3600)
    return time.perf_counter() - begun, found


def measure(folder: Path, rows: int, files: int, processes: int) -> Figures:
    for one in ("src", "models/model", "in", "small"):
        (folder / one).mkdir(parents=True)
    (folder / "src" / "score.py").write_text(SCRIPT)
    random = numpy.random.default_rng(0)
    numpy.savetxt(folder / "models/model/weights.txt", random.normal(size=FEATURES + 1))
    for at in range(files):
        name, values = f"{at:04}.csv", random.normal(size=(rows // files, FEATURES))
        numpy.savetxt(folder / "in" / name, values, fmt="%.4f", delimiter=",")
    numpy.savetxt(folder / "small/0.csv", random.normal(size=(9, FEATURES)), fmt="%.4f", delimiter=",")
    with live.started(folder / "root") as platform:
        endpoint(platform, folder, processes)
        ask(platform, platform.upload("codes", "small", folder / "small"))  # the environment is there
        platform.at_rest()
        uri = platform.upload("codes", "in", folder / "in")
        named = sorted(map(str, (folder / "in").iterdir()))
        pool_s = pool(folder / "src" / "score.py", folder / "models", named, processes, folder / "rows.csv")
        job_s, _ = ask(platform, uri)
        written = [one for one in (folder / "root").rglob("predictions.csv") if one.stat().st_size > 1000]
    expected = (folder / "rows.csv").read_bytes()
    assert written and written[0].read_bytes() == expected, "the job's rows are not the pool's"
    return Figures(
        rows,
        files,
        processes,
        round(pool_s, 2),
        round(job_s, 2),
        round(pool_s / job_s, 3),
        round(os.getloadavg()[0], 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        found = measure(Path(scratch), asked.rows, asked.files, asked.processes)
    print(json.dumps(asdict(found)) if asked.json else "\n".join(f"{k:10} {v}" for k, v in asdict(found).items()))


if __name__ == "__main__":
    main()
