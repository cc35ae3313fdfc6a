"""Clusters whose nodes are machines of their own: who is sent where, who waits for whom, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, counts, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.store import nodes


def machine(harness: Harness, name: str, connected: bool = True, gpus: int = 0, compute: str = "cpu") -> None:
    with harness.database.write() as connection:
        nodes.add(connection, name, f"{WORKSPACE}/computes/{compute}".lower(), {}, harness.clock())
        if connected:
            connect(harness, name, connection, gpus=gpus)


def connect(harness: Harness, name: str, connection: Any, state: str = nodes.CONNECTED, gpus: int = 0) -> None:
    now = harness.clock()
    nodes.note(connection, name, state=state, cpus=2, memory_bytes=8 << 30, gpus=gpus, seen_at=now)


def listed(harness: Harness) -> list[tuple[str, str, str | None]]:
    found = harness.send("POST", f"{WORKSPACE}/computes/cpu/listNodes").json()["nodes"]
    return [(one["nodeId"], one["nodeState"], one["runId"]) for one in found]


def task_of(harness: Harness, job: str) -> Any:
    (name,) = harness.row(f"{JOBS}/{job}").status["tasks"]
    return harness.engine.tasks[name]


def test_each_job_has_a_machine_to_itself_and_the_environment_is_built_there(harness: Harness) -> None:
    harness.environments.build_at_once = False
    compute = cluster(harness, most=5)
    machine(harness, "one")
    machine(harness, "two")
    for name in ("a", "b", "c"):
        submit(harness, name, computeId=compute)
    harness.settle()
    assert [status(harness, name) for name in ("a", "b", "c")] == ["Starting", "Starting", "Queued"]
    tasks = [task_of(harness, name) for name in ("a", "b")]
    assert [task.node for task in tasks] == ["one", "two"]
    assert set(harness.engine.tasks) == {task.name for task in tasks}, "nothing is built here"
    assert tasks[0].build["definition"] and tasks[0].build["log"].name.endswith("20_image_build_log.txt")
    assert listed(harness) == [("one", "running", "a"), ("two", "running", "b")] and counts(harness) == (2, 0)
    harness.engine.finish(tasks[1].name, 0)
    harness.settle()
    assert (status(harness, "b"), task_of(harness, "c").node) == ("Completed", "two")


def test_a_job_waits_for_a_machine_that_is_connected(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    machine(harness, "one", connected=False)
    submit(harness, "a", computeId=compute)
    harness.settle()
    row = harness.row(f"{JOBS}/a")
    assert row.state == "Queued" and "none of the machines is connected" in row.status["reason"]
    assert listed(harness) == [("one", "unusable", None)] and counts(harness) == (0, 0)
    with harness.database.write() as connection:
        connect(harness, "one", connection)
    harness.loop.hint(f"{WORKSPACE}/computes/cpu".lower())  # as the engine does
    harness.settle()
    assert task_of(harness, "a").node == "one"


def test_a_machine_that_is_away_is_given_to_nobody_though_it_was_idle(harness: Harness) -> None:
    compute = cluster(harness, most=2)
    machine(harness, "one")
    submit(harness, "a", computeId=compute)
    harness.settle()
    harness.engine.finish(task_of(harness, "a").name, 0)
    harness.settle()
    machine(harness, "two")
    with harness.database.write() as connection:
        connect(harness, "one", connection, nodes.SILENT)
    submit(harness, "b", computeId=compute)
    harness.settle()
    assert task_of(harness, "b").node == "two"
    assert listed(harness) == [("one", "unusable", None), ("two", "running", "b")]


def test_a_job_keeps_its_machine_also_when_that_is_removed(harness: Harness) -> None:
    """Else it would be looked for, and begun again, on this machine."""
    compute = cluster(harness, most=2)
    machine(harness, "one")
    submit(harness, "a", computeId=compute)
    harness.settle()
    task = task_of(harness, "a")
    with harness.database.write() as connection:
        nodes.remove(connection, "one")
    harness.engine.remove(task.name)
    harness.engine.starts.clear()
    harness.loop.hint(f"{JOBS}/a".lower())
    harness.settle()
    assert task_of(harness, "a").node == "one"


def test_without_its_last_machine_a_cluster_has_shares_of_this_one(harness: Harness) -> None:
    harness.environments.build_at_once = False
    compute = cluster(harness, most=1)
    machine(harness, "one", connected=False)
    submit(harness, "a", computeId=compute)
    harness.settle()
    assert status(harness, "a") == "Queued"
    with harness.database.write() as connection:
        nodes.remove(connection, "one")
    harness.loop.hint(f"{WORKSPACE}/computes/cpu".lower())
    harness.settle()
    assert status(harness, "a") == "Preparing"
    (build,) = harness.engine.tasks
    harness.environments.ready.add(harness.row(f"{JOBS}/a").spec["smalt"]["plan"]["key"])
    harness.engine.finish(build, 0)
    harness.settle()
    assert (status(harness, "a"), task_of(harness, "a").node, task_of(harness, "a").build) == ("Starting", "", {})


def test_gpus_are_counted_on_each_machine(harness: Harness) -> None:
    scale = {"maxNodeCount": 4, "minNodeCount": 0}
    properties = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC12", "scaleSettings": scale}}
    compute = f"{WORKSPACE}/computes/cpu"
    assert harness.put(compute, {"properties": properties}).status_code == 201
    machine(harness, "small", gpus=1)
    answer = submit(harness, "a", computeId=compute)
    assert answer.status_code == 400 and "the best of its machines has 1" in answer.text
    machine(harness, "large", gpus=4)
    submit(harness, "a", computeId=compute)
    harness.settle()
    assert task_of(harness, "a").node == "large"
    assert harness.row(f"{JOBS}/a").status["gpus"] == [[0, 1]]


def test_a_job_over_several_machines_is_refused(harness: Harness) -> None:
    compute = cluster(harness, most=4)
    machine(harness, "one")
    machine(harness, "two")
    answer = submit(harness, "a", computeId=compute, resources={"instanceCount": 2})
    assert answer.status_code == 400
    assert answer.json()["error"]["target"] == "properties.resources.instanceCount"


def test_so_is_one_that_was_taken_before_its_cluster_had_machines(harness: Harness) -> None:
    harness.environments.build_at_once = False
    compute = cluster(harness, most=2)
    submit(harness, "a", computeId=compute, resources={"instanceCount": 2})
    machine(harness, "one")
    machine(harness, "two")
    harness.settle()
    row = harness.row(f"{JOBS}/a")
    assert row.state == "Failed" and "machines of their own" in row.status["error"]["message"]


def test_a_name_is_given_once_and_a_number_again(harness: Harness) -> None:
    cluster(harness)
    for name in ("one", "two", "three"):
        machine(harness, name)
    with harness.database.write() as connection, pytest.raises(ValueError, match="already"):
        nodes.add(connection, "one", "/x", {}, 1.0)
    with harness.database.write() as connection:
        nodes.remove(connection, "two")
    machine(harness, "four")
    with harness.database.read() as connection:
        found = {one.name: one.number for one in nodes.every(connection)}
    assert found == {"one": 0, "three": 2, "four": 1}
