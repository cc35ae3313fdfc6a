"""A sweep of trials that sleep a second and log one metric, some at a time, against the time that this takes at least.

    python bench/sweep.py [--trials 40] [--at-once 4] [--algorithm Random] [--without-peers] [--json]

Each trial is `sleep 1` and one metric that it logs with curl over HTTPS, as MLflow's client does. The platform is made by `smalt up`.
First Ray Tune, installed by uv before anything begins, runs as many trials that sleep as long and report one number.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import peers

import live

SECONDS = 1.0
TARGET = 1.15
COMMAND = """sleep 1; curl -sSf --cacert "$SSL_CERT_FILE" -H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" \
-H 'Content-Type: application/json' "$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" \
-d '{"run_id": "'"$MLFLOW_RUN_ID"'", "key": "score", "value": ${{search_space.x}}, "timestamp": 1, "step": 0}'"""


@dataclass(frozen=True)
class Figures:
    trials: int
    at_once: int
    ideal_s: float
    sweep_s: float
    ratio: float
    load: float
    tune_s: float = 0.0


def measure(root: Path, trials: int, at_once: int, algorithm: str) -> Figures:
    with live.started(root) as platform:
        platform.warm()
        platform.put("/environments/bare/versions/1", {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})
        platform.submit("first", "true", environmentId="azureml:bare:1")
        platform.completed("first")
        began = time.perf_counter()
        platform.put(
            "/jobs/tune",
            {
                "jobType": "Sweep",
                "trial": {"command": COMMAND, "environmentId": "azureml:bare:1"},
                "searchSpace": {"x": ["uniform", [0, 1]]},
                "samplingAlgorithm": {"samplingAlgorithmType": algorithm},
                "objective": {"goal": "maximize", "primaryMetric": "score"},
                "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": trials, "maxConcurrentTrials": at_once},
            },
        )
        platform.completed("tune")
        sweep_s = time.perf_counter() - began
    ideal_s = -(-trials // at_once) * SECONDS
    return Figures(trials, at_once, ideal_s, round(sweep_s, 2), round(sweep_s / ideal_s, 3), live.load())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--algorithm", default="Random", choices=["Random", "Bayesian"])
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    tune_s = 0.0
    if not asked.without_peers:
        with tempfile.TemporaryDirectory() as folder:
            tune_s = peers.tune(Path(folder), asked.trials, asked.at_once, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "root", asked.trials, asked.at_once, asked.algorithm)
    found = replace(found, tune_s=round(tune_s, 2))
    print(json.dumps(asdict(found)) if asked.json else "\n".join(f"{k:10} {v}" for k, v in asdict(found).items()))


if __name__ == "__main__":
    main()
