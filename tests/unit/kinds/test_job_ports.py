"""Jobs whose processes look for each other do so at ports of their own."""

from __future__ import annotations

import json
import socket

import pytest

from fakes.jobs import cluster, submit
from fakes.platform import Harness

TWO = {"resources": {"instanceCount": 2}}


def ports(harness: Harness) -> list[int]:
    return [int(task.variables["MASTER_PORT"]) for task in harness.engine.tasks.values()]


def test_two_jobs_at_once_meet_at_different_ports(harness: Harness) -> None:
    compute = cluster(harness, most=4)
    submit(harness, "a", computeId=compute, **TWO)
    submit(harness, "b", computeId=compute, **TWO)
    harness.settle()
    found = ports(harness)
    assert len(found) == 4 and len(set(found)) == 2, "the processes of a job agree, the jobs do not"


def test_workers_of_a_tensorflow_job_have_ports_of_their_own(harness: Harness) -> None:
    spread = {"distribution": {"distributionType": "TensorFlow", "workerCount": 2}}
    submit(harness, "a", computeId=cluster(harness, most=4), **TWO, **spread)
    submit(harness, "b", computeId=cluster(harness, "other", most=4), **TWO, **spread)
    harness.settle()
    workers = [json.loads(task.variables["TF_CONFIG"])["cluster"]["worker"] for task in harness.engine.tasks.values()]
    assert len({address for pair in workers for address in pair}) == 4


def test_ports_are_given_back_and_used_ones_left_out(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.sched.ports.randrange", lambda blocks: blocks - 1)  # and from there to the first
    compute = cluster(harness, most=2)
    submit(harness, "a", computeId=compute, **TWO)
    harness.settle()
    (first, _) = ports(harness)
    for name in list(harness.engine.tasks):
        harness.engine.start(name)
        harness.engine.finish(name, 0)
    harness.settle()
    with socket.socket() as other:  # somebody else's service
        other.bind(("127.0.0.7", first + 5))
        submit(harness, "b", computeId=compute, **TWO)
        harness.settle()
        assert first not in ports(harness)


def test_a_job_on_one_node_asks_for_none(harness: Harness) -> None:
    submit(harness)
    harness.settle()
    (task,) = harness.engine.tasks.values()
    assert "MASTER_PORT" not in task.variables
