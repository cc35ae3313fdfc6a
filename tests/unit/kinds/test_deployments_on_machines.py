"""Deployments whose instances run on machines of a cluster: where each is, who waits, what becomes of a machine's loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy import select

from fakes import deployments
from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, state
from fakes.examples import EXAMPLES, prepare
from fakes.jobs import cluster, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Phase
from smalt.store import nodes
from smalt.store.tables import allocation, queue
from smalt.web.asleep import AsleepApp

SMALL = "Standard_DS2_v2"  # as many cores as a machine has
THERE: dict[str, Any] = {"properties": {"smalt.compute": "cpu"}, "instanceType": SMALL}
GPU = "Standard_NC6s_v3"  # one GPU
GPU_THERE = {**THERE, "instanceType": GPU}


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    cluster(harness, most=3)
    return harness


def machine(harness: Harness, name: str, gpus: int = 0, address: str = "192.0.2.1") -> None:
    """It has been added, and is connected; whoever waits for one hears of it."""
    compute, now = f"{WORKSPACE}/computes/cpu".lower(), harness.clock()
    with harness.database.write() as connection:
        nodes.add(connection, name, compute, {}, now)
        found = {"cpus": 2, "memory_bytes": 8 << 30, "gpus": gpus, "seen_at": now, "address": address}
        nodes.note(connection, name, state=nodes.CONNECTED, **found)
    harness.loop.hint(compute)
    harness.settle()


def lose(harness: Harness, name: str, seconds: float = 20.0) -> None:
    with harness.database.write() as connection:
        nodes.note(connection, name, state=nodes.SILENT)
    silence(harness, name, seconds)


def silence(harness: Harness, name: str, seconds: float) -> None:
    harness.engine.silent[name] = seconds
    harness.loop.hint(BLUE.lower())
    harness.settle()


def live(harness: Harness) -> set[str]:
    return {name for name in deployments.live(harness) if name.startswith("srv-")}


def at(harness: Harness) -> dict[str, str]:
    """The instances that live, each with its machine."""
    return {name: harness.engine.tasks[name].node for name in live(harness)}


def held(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        query = select(allocation.c.machine).where(allocation.c.owner == BLUE.lower())
        return sorted(connection.execute(query).scalars())


def waiting(harness: Harness) -> list[tuple[str, int]]:
    with harness.database.read() as connection:
        return [(row.owner, row.nodes) for row in connection.execute(select(queue.c.owner, queue.c.nodes))]


def routed(harness: Harness) -> list[str]:
    return list(harness.row(BLUE).status["live"]["addresses"])


def test_each_instance_is_on_a_machine_of_its_own_and_the_environment_is_built_there(ready: Harness) -> None:
    ready.environments.build_at_once = False
    machine(ready, "one")
    machine(ready, "two")
    deploy(ready, capacity=2, **THERE)
    assert sorted(at(ready).values()) == ["one", "two"] == held(ready)
    assert set(ready.engine.tasks) == live(ready), "nothing is built here"
    task = ready.engine.tasks[min(live(ready))]
    assert task.build["definition"] and task.build["log"].name.endswith("/build.txt")
    come_up(ready)
    assert state(ready) == "Succeeded" and sorted(routed(ready)) == sorted(live(ready))
    shown = ready.get(BLUE).json()["properties"]
    assert shown["properties"] == {"smalt.compute": "cpu"} and shown["endpointComputeType"] == "Managed"
    assert ready.send("DELETE", f"{ENDPOINT}/deployments/blue").status_code in (200, 202)
    ready.settle()
    assert not live(ready) and not held(ready)


def test_an_endpoint_with_a_compute_has_its_instances_there(ready: Harness) -> None:
    machine(ready, "one")
    other = f"{ENDPOINT}2"
    body = {"location": "local", "properties": {"authMode": "Key", "compute": "azureml:cpu"}}
    assert ready.put(other, body).status_code == 201
    ready.settle()
    assert ready.get(other).json()["properties"]["compute"] == f"{WORKSPACE}/computes/cpu"
    deployment = EXAMPLES[KEY].body(endpointComputeType="Kubernetes")
    assert ready.put(f"{other}/deployments/blue", deployment).status_code == 201
    ready.settle()
    come_up(ready)
    found = ready.get(f"{other}/deployments/blue").json()["properties"]
    assert (found["provisioningState"], found["endpointComputeType"]) == ("Succeeded", "Kubernetes")
    assert list(at(ready).values()) == ["one"]
    moved = ready.put(other, {"location": "local", "properties": {"authMode": "Key"}})
    assert moved.status_code == 409 and moved.json()["error"]["target"] == "properties.compute"


def test_a_size_with_more_gpus_than_there_are_here_goes_where_they_are(ready: Harness) -> None:
    body = {**EXAMPLES[KEY].body(instanceType=GPU), "sku": {"name": "Default", "capacity": 1}}
    assert ready.put(f"{ENDPOINT}/deployments/blue", body).status_code == 400
    machine(ready, "plain")
    machine(ready, "gpu", gpus=1)
    deploy(ready, instanceType=GPU)
    (name,) = live(ready)
    assert (
        at(ready) == {name: "gpu"} and ready.engine.tasks[name].gpus is None
    )  # the fake machine says that it has none
    deploy(ready, "green", instanceType=SMALL)
    assert [task.node for task in ready.engine.tasks.values() if "green" in str(task.server)] == [""]


def test_it_waits_for_a_machine_among_jobs_and_serves_with_those_it_has(ready: Harness) -> None:
    machine(ready, "one")
    submit(ready, "a", computeId=f"{WORKSPACE}/computes/cpu")
    ready.settle()
    deploy(ready, capacity=2, **THERE)
    assert not live(ready) and waiting(ready) == [(BLUE.lower(), 2)] and state(ready) == "Creating"
    submit(ready, "b", computeId=f"{WORKSPACE}/computes/cpu")
    ready.settle()
    machine(ready, "two")
    assert list(at(ready).values()) == ["two"] and status(ready, "b") == "Queued"
    machine(ready, "three")
    assert sorted(at(ready).values()) == ["three", "two"] and status(ready, "b") == "Queued"
    come_up(ready)
    assert state(ready) == "Succeeded"
    deploy(ready, capacity=1, **THERE)
    come_up(ready)
    assert len(held(ready)) == 1 and status(ready, "b") == "Running"


def test_old_and_new_share_a_machine_without_gpus(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    come_up(ready)
    (old,) = live(ready)
    deploy(ready, environmentVariables={"NEW": "1"}, **THERE)
    assert set(at(ready).values()) == {"one"} and len(live(ready)) == 2
    come_up(ready)
    assert state(ready) == "Succeeded" and old not in live(ready) and held(ready) == ["one"]


def test_with_gpus_the_new_one_waits_for_a_machine_of_its_own(ready: Harness) -> None:
    machine(ready, "one", gpus=1)
    deploy(ready, **GPU_THERE)
    come_up(ready)
    deploy(ready, environmentVariables={"NEW": "1"}, **GPU_THERE)
    assert len(live(ready)) == 1 and waiting(ready) == [(BLUE.lower(), 1)]
    machine(ready, "two", gpus=1)
    come_up(ready)
    assert list(at(ready).values()) == ["two"] == held(ready) and state(ready) == "Succeeded"


def test_a_machine_that_is_lost_loses_its_requests_first_and_then_its_instance(ready: Harness) -> None:
    for name in ("one", "two"):
        machine(ready, name)
    deploy(ready, capacity=2, **THERE)
    come_up(ready)
    gone = next(name for name, where in at(ready).items() if where == "one")
    lose(ready, "one", 1.0)
    assert len(routed(ready)) == 2, "a service that is started again is no loss"
    silence(ready, "one", 6.0)
    assert gone not in routed(ready) and gone in live(ready)
    silence(ready, "one", 16.0)
    ready.clock.pass_(1)
    ready.settle()
    assert gone not in live(ready) and held(ready) == ["two"] and waiting(ready) == [(BLUE.lower(), 1)]
    assert gone in ready.engine.removed, "one that is back ends it"
    machine(ready, "three")
    come_up(ready)
    assert sorted(at(ready).values()) == ["three", "two"] and len(routed(ready)) == 2


def test_requests_are_told_that_no_machine_is_left_and_wait_where_one_is(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    come_up(ready)
    asleep = AsleepApp(ready.platform)
    lose(ready, "one", 16.0)
    ready.clock.pass_(1)
    ready.settle()
    assert not routed(ready) and waiting(ready) == [(BLUE.lower(), 1)]
    why = asleep._look("churn-scores", "blue").why
    assert "waits for nodes of compute 'cpu': none of its machines is connected" in why
    machine(ready, "two")
    state = asleep._look("churn-scores", "blue")
    assert not state.why and not state.addresses, "its instance is on its way"
    come_up(ready)
    state = asleep._look("churn-scores", "blue")
    assert state.addresses and not state.why


def test_a_machine_that_is_lost_while_it_comes_up_fails_nothing(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    lose(ready, "one", math.inf)
    machine(ready, "two")
    ready.clock.pass_(1)
    ready.settle()
    assert list(at(ready).values()) == ["two"]
    come_up(ready)
    assert state(ready) == "Succeeded"


def test_an_environment_that_its_machine_cannot_build_fails_it_as_anywhere(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    (name,) = live(ready)
    ready.blobs.write(ready.engine.tasks[name].build["log"], b"Resolving nothing-at-all \xe2\x80\xa6\n")
    ready.engine.fail_build(name, "No matching distribution found for nothing-at-all.")
    ready.settle()
    assert state(ready) == "Failed" and not held(ready)
    error = {"code": "EnvironmentBuildFailed", "message": "No matching distribution found for nothing-at-all."}
    assert ready.row(BLUE).status["error"] == error, "as where it is built here"
    log = ready.send("POST", f"{BLUE}/getLogs", {}).json()["content"]
    assert log.endswith("Environment build:\nResolving nothing-at-all …")


def test_one_that_runs_and_is_not_reached_is_not_served_and_says_why(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    (name,) = live(ready)
    ready.engine.start(name)
    ready.engine._change(name, error="This machine does not reach 192.0.2.1:7500 (refused).")
    ready.settle()
    assert state(ready) == "Creating"
    log = ready.send("POST", f"{BLUE}/getLogs", {}).json()["content"]
    assert "1 instances start. This machine does not reach 192.0.2.1:7500 (refused)." in log
    for _ in range(21):
        ready.clock.pass_(31)
        ready.settle()
    assert state(ready) == "Failed"
    assert "does not reach 192.0.2.1:7500" in ready.row(BLUE).status["error"]["message"]


def test_the_time_of_a_build_on_the_machine_is_no_time_of_coming_up(ready: Harness) -> None:
    machine(ready, "one")
    deploy(ready, **THERE)
    (name,) = live(ready)
    ready.engine.states[name] = ready.engine.states[name].__class__(name, Phase.PREPARING)
    for _ in range(30):
        ready.clock.pass_(31)
        ready.settle()
    assert state(ready) == "Creating"


@pytest.mark.parametrize(
    ("given", "target", "says"),
    [
        ({"properties": {"smalt.compute": "nowhere"}}, "properties.properties.smalt.compute", "no compute 'nowhere'"),
        ({"properties": {"smalt.compute": "a/b"}}, "properties.properties.smalt.compute", "no compute of workspace"),
        ({"endpointComputeType": "Kubernetes"}, "properties.endpointComputeType", "an endpoint that has a compute"),
        ({"endpointComputeType": "AzureML"}, "properties.endpointComputeType", "cannot be had here"),
    ],
)
def test_what_cannot_be_is_refused(ready: Harness, given: dict[str, Any], target: str, says: str) -> None:
    machine(ready, "one")
    error = refused(ready, **given)
    assert error["target"] == target and says in error["message"]


def refused(harness: Harness, capacity: int = 1, **more: Any) -> Any:
    body = {**EXAMPLES[KEY].body(**more), "sku": {"name": "Default", "capacity": capacity}}
    answer = harness.put(f"{ENDPOINT}/deployments/blue", body)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_a_cluster_without_machines_or_without_addresses_is_refused(ready: Harness) -> None:
    assert "no machines of its own" in refused(ready, **THERE)["message"]
    machine(ready, "one", address="")
    assert "smalt node run --address" in refused(ready, **THERE)["message"]
    machine(ready, "two")
    error = refused(ready, capacity=4, **THERE)
    assert error["target"] == "sku.capacity" and "at most 3" in error["message"]
    error = refused(ready, **GPU_THERE)
    assert error["target"] == "properties.instanceType" and "has 0" in error["message"]
    declared = {"containerResourceRequests": {"gpu": "1"}}
    error = refused(ready, containerResourceRequirements=declared, **THERE)
    assert error["target"] == "properties.containerResourceRequirements" and "has 0" in error["message"]


def test_who_waits_is_told_for_what(ready: Harness) -> None:
    machine(ready, "one")
    lose(ready, "one")
    deploy(ready, **THERE)
    log = ready.send("POST", f"{BLUE}/getLogs", {}).json()["content"]
    assert "1 of 1 instances wait for nodes of compute 'cpu': none of its machines is connected" in log
