"""What tests of sweeps say again and again. Trials are tasks of the fake engine: the test says what they log and how they end."""

from __future__ import annotations

from typing import Any

from fakes.examples import CURATED
from fakes.jobs import JOBS, status
from fakes.platform import WORKSPACE, Harness

BANDIT = {"policyType": "Bandit", "slackFactor": 0.1, "evaluationInterval": 1, "delayEvaluation": 0}
BEST = "best_child_run_id"
METRIC = "acc"
TRIAL = {"command": "python train.py --lr ${{search_space.lr}}", "environmentId": CURATED}
SPACE = {"lr": ["uniform", [0.0, 1.0]]}
GRID = {"samplingAlgorithmType": "Grid"}


def document(trials: int = 4, at_once: int = 2, **properties: Any) -> dict[str, Any]:
    limits = {"jobLimitsType": "Sweep", "maxTotalTrials": trials, "maxConcurrentTrials": at_once}
    body: dict[str, Any] = {
        "jobType": "Sweep",
        "trial": TRIAL,
        "searchSpace": SPACE,
        "inputs": {},
        "outputs": {},
        "objective": {"goal": "maximize", "primaryMetric": METRIC},
        "samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": 1},
        **properties,
    }
    body["limits"] = {**limits, **properties.get("limits", {})}
    return body


def sweep(harness: Harness, name: str = "tune", trials: int = 4, at_once: int = 2, **properties: Any) -> Any:
    return harness.put(f"{JOBS}/{name}", {"properties": document(trials, at_once, **properties)})


def task_of(harness: Harness, trial: str) -> Any:
    return harness.engine.tasks[harness.row(f"{JOBS}/{trial}").status["tasks"][0]]


def running(harness: Harness) -> list[str]:
    """The trials that have a task which has not ended, by name."""
    live = [harness.engine.tasks[name] for name, state in harness.engine.states.items() if state.outcome is None]
    return sorted((task.variables["AZUREML_RUN_ID"] for task in live), key=lambda name: int(name.rpartition("_")[2]))


def log(harness: Harness, trial: str, *values: float, metric: str = METRIC) -> None:
    """The trial logs, as MLflow and the edge do it."""
    run = harness.tracking.runs[WORKSPACE.lower(), trial]
    run.setdefault("metrics", {}).setdefault(metric, []).extend(values)
    harness.heard(trial, metric)
    harness.clock.pass_(0.2)
    harness.settle()


def end(harness: Harness, trial: str, *values: float, exit_code: int = 0) -> None:
    """The trial's process logs these and ends."""
    if values:
        log(harness, trial, *values)
    harness.engine.finish(task_of(harness, trial).name, exit_code)
    settle(harness)


def settle(harness: Harness) -> None:
    """Until nothing more happens; where many trials are open the sweep looks a moment later."""
    for _ in range(3):
        harness.settle()
        harness.clock.pass_(1.0)
    harness.settle()


def properties(harness: Harness, name: str = "tune") -> Any:
    return harness.get(f"{JOBS}/{name}").json()["properties"]


def states(harness: Harness, name: str = "tune", count: int = 4) -> list[str]:
    return [status(harness, f"{name}_{number}") for number in range(count)]


def journal(harness: Harness, name: str = "tune") -> str:
    account = harness.row(WORKSPACE).status["account"]
    text = harness.blobs.read(account, "azureml", f"ExperimentRun/dcid.{name}/azureml-logs/hyperdrive.txt", 1 << 20)
    return (text or b"").decode()
