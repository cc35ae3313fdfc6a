"""What tests of jobs say again and again."""

from __future__ import annotations

from typing import Any

from fakes.examples import CURATED
from fakes.platform import WORKSPACE, Harness

JOBS = f"{WORKSPACE}/jobs"


def submit(harness: Harness, name: str = "train-1", **properties: Any) -> Any:
    body = {"jobType": "Command", "command": "python train.py", "environmentId": CURATED, **properties}
    return harness.put(f"{JOBS}/{name}", {"properties": body})


def run(harness: Harness, name: str, exit_code: int = 0, **properties: Any) -> None:
    """A command job that runs to its end."""
    answer = submit(harness, name, **properties)
    assert answer.status_code == 201, answer.text
    harness.settle()
    (task,) = harness.row(f"{JOBS}/{name}").status["tasks"]
    harness.engine.start(task)
    harness.settle()
    harness.engine.finish(task, exit_code)
    harness.settle()


def status(harness: Harness, name: str = "train-1") -> str:
    return harness.get(f"{JOBS}/{name}").json()["properties"]["status"]


def cluster(harness: Harness, name: str = "cpu", most: int = 1) -> str:
    scale = {"maxNodeCount": most, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT100S"}
    properties = {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": scale}}
    assert harness.put(f"{WORKSPACE}/computes/{name}", {"properties": properties}).status_code == 201
    return f"{WORKSPACE}/computes/{name}"


def counts(harness: Harness, name: str = "cpu") -> tuple[int, int]:
    found = harness.get(f"{WORKSPACE}/computes/{name}").json()["properties"]["properties"]["nodeStateCounts"]
    return found["runningNodeCount"], found["idleNodeCount"]
