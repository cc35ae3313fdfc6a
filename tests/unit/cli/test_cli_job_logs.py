"""`smalt logs --node`: which of a job's logs that node's is, as jobs name them (`kinds/jobs/distribution.py`)."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.cli.commands.logs import names
from smalt.kinds.jobs import distribution


def job(nodes: int, type_: str = "", each: int = 1, **more: int) -> dict[str, Any]:
    said: dict[str, Any] = {"resources": {"instanceCount": nodes}}
    if type_:
        said["distribution"] = {"distributionType": type_, **({"processCountPerInstance": each} if each > 1 else more)}
    return said


@pytest.mark.parametrize(
    "properties",
    [
        job(1),
        job(2),
        job(12),
        job(1, "PyTorch", 4),
        job(2, "PyTorch", 2),
        job(3, "Mpi", 8),
        job(4, "PyTorch"),
        job(2, "TensorFlow", workerCount=4, parameterServerCount=2),
        job(2, "TensorFlow", workerCount=1, parameterServerCount=1),
        job(3, "TensorFlow", workerCount=2, parameterServerCount=12),
    ],
)
def test_the_log_of_a_node_is_its_first_processs(properties: dict[str, Any]) -> None:
    nodes = distribution.node_count(properties)
    spread = distribution.layout(properties, nodes)
    total = sum(map(len, spread))
    files = [distribution.log_name(one, total) for processes in spread for one in processes]
    for node, processes in enumerate(spread):
        found = next(one for one in names(properties, node, files) if one in files)
        assert found == distribution.log_name(processes[0], total)


def test_of_a_ray_job_the_commands_and_elsewhere_rays_own() -> None:
    assert names(job(2, "Ray"), 0, []) == ["user_logs/std_log.txt"]
    assert names(job(2, "Ray"), 1, []) == ["system_logs/ray-node-1.log"]


def test_a_job_that_runs_others_and_one_that_has_said_nothing() -> None:
    assert "logs/azureml/executionlogs.txt" in names({}, 0, ["logs/azureml/executionlogs.txt"])
    assert names(job(2), 1, []) == []
