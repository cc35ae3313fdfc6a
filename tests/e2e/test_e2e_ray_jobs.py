"""Jobs whose distribution is Ray, two at once on one machine: each has a cluster of its own nodes, by the ray of its environment."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from live.platform import HOME, Platform

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).parents[2]
COMMAND = 'python -c "$CODE"'
THEN_A_NODE_DIES = """
@ray.remote(num_cpus=1)
def die() -> None:
    os.kill(os.getppid(), 9)  # the node's raylet

other = next(one["NodeID"] for one in ray.nodes() if one["NodeManagerAddress"] != os.environ["MASTER_ADDR"])
print("a node dies", flush=True)
die.options(scheduling_strategy=NodeAffinitySchedulingStrategy(other, soft=False)).remote()
import time
time.sleep(600)
"""


@pytest.fixture
def environment(platform: Platform) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    conda = f"dependencies: [python={python}, pip, {{pip: [ray=={version('ray')}]}}]\n"
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    platform.put("environments/with-ray/versions/1", {"image": image, "condaFile": conda})
    return f"{HOME}/environments/with-ray/versions/1"


def test_two_clusters_beside_each_other_and_a_node_that_dies(platform: Platform, environment: str) -> None:
    code = (REPOSITORY / "scripts" / "distributed" / "ray_job.py").read_text()
    for name, what in (("ray-well", code), ("ray-dies", code + THEN_A_NODE_DIES)):
        answer = platform.submit(
            name,
            COMMAND,
            environmentId=environment,
            environmentVariables={"CODE": what},
            resources={"instanceCount": 2},
            distribution={"distributionType": "Ray", "port": 6379},
        )
        assert answer.status_code == 201, answer.text
    platform.wait_for("ray-well", "Completed", timeout_s=240)
    platform.wait_for("ray-dies", "Failed")
    for name in ("ray-well", "ray-dies"):
        said = platform.job_log(name).splitlines()
        assert [one.rpartition("-")[2] for one in said if one.startswith(f"{name} on ")] == ["0", "1"], said
    assert "a node dies" in platform.job_log("ray-dies")
    error = platform.job_error("ray-dies")
    assert error.startswith("Node 1: ") and "system_logs/ray-node-1.log" in error, error
