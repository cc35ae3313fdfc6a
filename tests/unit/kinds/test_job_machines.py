"""Clusters whose nodes are machines of their own: who is sent where, who waits for whom, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, counts, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.sched import placement
from smalt.sched.want import Want
from smalt.store import nodes


def machine(
    harness: Harness, name: str, connected: bool = True, gpus: int = 0, compute: str = "cpu", **values: str
) -> None:
    with harness.database.write() as connection:
        nodes.add(connection, name, f"{WORKSPACE}/computes/{compute}".lower(), {}, harness.clock())
        if connected:
            connect(harness, name, connection, gpus=gpus)
            nodes.note(connection, name, **{"address": "192.0.2.1", **values})


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


def test_an_environment_that_a_machine_cannot_build_fails_the_job_as_one_that_fails_here(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    machine(harness, "one")
    submit(harness, "a", computeId=compute)
    harness.settle()
    harness.engine.fail_build(task_of(harness, "a").name, "No matching distribution found for nothing-at-all.")
    harness.settle()
    error = harness.row(f"{JOBS}/a").status["error"]
    assert status(harness, "a") == "Failed" and error["code"] == "EnvironmentBuildFailed"
    assert "nothing-at-all" in error["message"]


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
    shown = harness.get(f"{WORKSPACE}/queues/cpu").json()["properties"]["nodes"]
    assert [(one["machine"], one["connected"]) for one in shown] == [("one", False), ("two", True)]
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


def gang(harness: Harness, name: str = "a", **more: Any) -> list[Any]:
    """A job on two nodes of the cluster: its tasks as they are now, by rank."""
    found = submit(harness, name, computeId=f"{WORKSPACE}/computes/cpu", resources={"instanceCount": 2}, **more)
    assert found.status_code == 201, found.text
    harness.settle()
    names = harness.row(f"{JOBS}/{name}").status.get("tasks", ())
    return [harness.engine.tasks[one] for one in names]


def reason(harness: Harness, name: str = "a") -> str:
    return harness.row(f"{JOBS}/{name}").status["reason"]


def test_nodes_of_a_job_find_each_other_at_their_machines_addresses(harness: Harness) -> None:
    cluster(harness, most=4)
    machine(harness, "one", address="192.0.2.1")
    machine(harness, "two", address="192.0.2.2")
    tasks = gang(harness, distribution={"distributionType": "PyTorch"})
    assert [task.node for task in tasks] == ["one", "two"]
    assert {task.variables["MASTER_ADDR"] for task in tasks} == {"192.0.2.1"}
    assert [task.addresses for task in tasks] == [
        dict(zip(tasks[0].hosts, ["192.0.2.1", "192.0.2.2"], strict=True))
    ] * 2
    logs = [task.build["log"].name.rpartition("/")[2] for task in tasks]
    assert logs == ["20_image_build_log.txt", "20_image_build_log_node-1.txt"], "each machine builds for itself"


def test_each_framework_is_told_where_its_nodes_are(harness: Harness) -> None:
    cluster(harness, most=4)
    for number in (1, 2):
        machine(harness, f"m{number}", address=f"192.0.2.{number}")
    tasks = gang(harness, "tf", distribution={"distributionType": "TensorFlow"})
    workers = json.loads(tasks[1].variables["TF_CONFIG"])["cluster"]["worker"]
    assert [one.rpartition(":")[0] for one in workers] == ["192.0.2.1", "192.0.2.2"]
    finish(harness, tasks)
    tasks = gang(harness, "mpi", distribution={"distributionType": "Mpi"})
    assert [task.mpi.addresses for task in tasks] == [["192.0.2.1", "192.0.2.2"]] * 2
    finish(harness, tasks)
    tasks = gang(harness, "ray", distribution={"distributionType": "Ray"})
    assert tasks[0].ray.address.startswith("192.0.2.1:")
    starts = [" ".join(one.argv) for task in tasks for one in task.ranks if one.argv]
    assert [f"--node-ip-address=192.0.2.{one}" in start for one, start in zip((1, 2), starts, strict=True)] == [
        True
    ] * 2


def finish(harness: Harness, tasks: list[Any]) -> None:
    for task in tasks:
        harness.engine.start(task.name)
        harness.engine.finish(task.name, 0)
    harness.settle()


def test_a_gang_keeps_the_addresses_that_its_attempt_began_with(harness: Harness) -> None:
    cluster(harness, most=4)
    machine(harness, "one", address="192.0.2.1")
    machine(harness, "two", address="192.0.2.2")
    tasks = gang(harness)
    with harness.database.write() as connection:
        nodes.note(connection, "one", address="192.0.2.9")
    harness.engine.remove(tasks[1].name)  # it is started anew
    harness.loop.hint(f"{JOBS}/a".lower())
    harness.settle()
    assert harness.engine.tasks[tasks[1].name].variables["MASTER_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("addresses", [("127.0.0.1", "192.0.2.2"), ("", "192.0.2.2")])
def test_a_job_waits_for_machines_that_find_each_other(harness: Harness, addresses: tuple[str, str]) -> None:
    cluster(harness, most=4)
    for number, one in enumerate(addresses):
        machine(harness, f"m{number}", address=one)
    assert not gang(harness)
    assert status(harness, "a") == "Queued" and "smalt node run --address" in reason(harness)
    machine(harness, "m2", address="192.0.2.3")
    harness.loop.hint(f"{WORKSPACE}/computes/cpu".lower())
    harness.settle()
    row = harness.row(f"{JOBS}/a")
    assert (row.state, row.status["machines"]) == ("Starting", ["m1", "m2"])


def test_machines_of_two_servers_are_not_one_job(harness: Harness) -> None:
    """Whoever steps the job could not tell the other's machine what to do."""
    cluster(harness, most=4)
    for name, server in (("one", "a"), ("two", "b"), ("three", "b")):
        machine(harness, name, address="192.0.2.1", server=server)
    assert [task.node for task in gang(harness)] == ["two", "three"]


def on_two_servers(harness: Harness, a: int, b: int) -> str:
    """A cluster whose machines a-0, a-1, … dial server a, and b-0, … server b. The compute's id."""
    compute = cluster(harness, most=a + b)
    for server, count in (("a", a), ("b", b)):
        for number in range(count):
            machine(harness, f"{server}-{number}", server=server)
    return compute


def test_a_gang_gets_the_machines_that_are_free_though_more_are_busy_elsewhere(harness: Harness) -> None:
    compute = on_two_servers(harness, 3, 2)
    for name in ("x", "y", "z"):
        submit(harness, name, computeId=compute)
    harness.settle()
    assert [task.node for task in gang(harness)] == ["b-0", "b-1"]


def test_free_machines_that_are_too_few_for_a_gang_do_not_keep_it_waiting(harness: Harness) -> None:
    compute = on_two_servers(harness, 2, 1)
    for name in ("x", "y"):
        submit(harness, name, computeId=compute)
    assert not gang(harness)
    finish(harness, [task_of(harness, name) for name in ("x", "y")])
    assert harness.row(f"{JOBS}/a").status["machines"] == ["a-0", "a-1"]


def test_nobody_gives_way_whose_machine_would_not_help(harness: Harness) -> None:
    compute = on_two_servers(harness, 2, 1).lower()
    with harness.database.write() as connection:
        for at, owner in enumerate(("x", "y", "z")):
            one = Want(compute, owner, 1, 3, 0.0, preemptible=owner != "y")
            given = placement.acquire(connection, one, 0, float(at))
            assert given and given[0].machine == ("a-0", "a-1", "b-0")[at]
        two = Want(compute, "gang", 2, 3, 4.0)
        assert placement.acquire(connection, two, 0, 4.0) is None
        assert not [one for one in "xyz" if placement.reclaimed(connection, one)], "y would go on"
        placement.release(connection, "y", 5.0)
        assert placement.acquire(connection, two, 0, 6.0) is None
        assert [one for one in "xyz" if placement.reclaimed(connection, one)] == ["x"], "z is the youngest"


def test_ports_are_counted_on_each_machine(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.sched.ports.randrange", lambda blocks: 0)
    for compute, at in (("cpu", "192.0.2.1"), ("same", "192.0.2.1"), ("other", "192.0.2.7")):
        cluster(harness, compute, most=2)
        for number in (1, 2):
            machine(harness, f"{compute}-{number}", compute=compute, address=at)
        submit(harness, compute, computeId=f"{WORKSPACE}/computes/{compute}", resources={"instanceCount": 2})
        harness.settle()
    found = {one: harness.row(f"{JOBS}/{one}").status["ports"] for one in ("cpu", "same", "other")}
    assert len({*found["cpu"], *found["same"]}) == 4, "one machine may be several nodes"
    assert found["other"] == found["cpu"]


def test_a_job_that_was_taken_before_its_cluster_had_machines_runs_on_them(harness: Harness) -> None:
    harness.environments.build_at_once = False
    compute = cluster(harness, most=2)
    submit(harness, "a", computeId=compute, resources={"instanceCount": 2})
    machine(harness, "one", address="192.0.2.1")
    machine(harness, "two", address="192.0.2.2")
    harness.settle()
    assert harness.row(f"{JOBS}/a").status["addresses"] == ["192.0.2.1", "192.0.2.2"]


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
