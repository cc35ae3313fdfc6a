"""Instances of deployments that share machines: how many fit, which go where, beside jobs, and what waits end in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, live, state
from fakes.examples import EXAMPLES, prepare
from fakes.jobs import cluster, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Limits
from smalt.store import nodes
from smalt.store.tables import allocation, queue

CPU = f"{WORKSPACE}/computes/cpu"
ONE_CORE = "Standard_DS1_v2"  # 3.5 GiB
GPU = "Standard_NC6s_v3"  # 6 cores, one GPU


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    cluster(harness, most=3)
    return harness


def machine(harness: Harness, name: str, cpus: int = 2, gib: int = 8, gpus: int = 0) -> None:
    now = harness.clock()
    with harness.database.write() as connection:
        nodes.add(connection, name, CPU.lower(), {}, now)
        found = {"cpus": cpus, "memory_bytes": gib << 30, "gpus": gpus, "seen_at": now, "address": "192.0.2.1"}
        nodes.note(connection, name, state=nodes.CONNECTED, **found)
    harness.loop.hint(CPU.lower())
    harness.settle()


def there(harness: Harness, name: str, capacity: int = 1, size: str = ONE_CORE, **more: Any) -> str:
    """A deployment on the cluster; its operation."""
    properties = {"smalt.compute": "cpu"}
    answer = deploy(harness, name, capacity, properties=properties, instanceType=size or None, **more)
    return answer.headers["azure-asyncoperation"]


def at(harness: Harness, deployment: str) -> list[str]:
    """The machines of its instances that live."""
    tasks = [harness.engine.tasks[name] for name in live(harness) if name.startswith("srv-")]
    return sorted(one.node for one in tasks if one.server and one.server.deployment == deployment)


def remove(harness: Harness, name: str) -> None:
    assert harness.send("DELETE", f"{ENDPOINT}/deployments/{name}").status_code in (200, 202)
    harness.settle()


def owners(harness: Harness) -> dict[str, str | None]:
    """By node, in the table that jobs have theirs in."""
    with harness.database.read() as connection:
        query = select(allocation.c.machine, allocation.c.owner).where(allocation.c.compute_id == CPU.lower())
        return {row.machine: row.owner and row.owner.rpartition("/")[2] for row in connection.execute(query)}


def gpus(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        query = select(allocation.c.gpus).where(allocation.c.machine == "one", allocation.c.compute_id != CPU.lower())
        return sorted(connection.execute(query).scalars())


def waiting(harness: Harness) -> dict[str, int]:
    with harness.database.read() as connection:
        rows = connection.execute(select(queue.c.owner, queue.c.nodes))
        return {row.owner.rpartition("/")[2]: row.nodes for row in rows}


def test_deployments_share_a_machine_as_far_as_its_cores_reach(ready: Harness) -> None:
    machine(ready, "one")
    for name in ("blue", "green", "red"):
        there(ready, name)
    assert at(ready, "blue") == at(ready, "green") == ["one"] and not at(ready, "red")
    assert waiting(ready) == {"red": 1}
    come_up(ready)
    assert (state(ready), state(ready, "green"), state(ready, "red")) == ("Succeeded", "Succeeded", "Creating")
    remove(ready, "blue")
    assert at(ready, "red") == ["one"] and not waiting(ready), "who waits is woken"
    assert owners(ready) == {"one": "green"}, "a node that is shared is handed on"


@pytest.mark.parametrize(("cpus", "gib", "fit"), [(2, 7, 2), (2, 6, 1), (1, 64, 1), (8, 14, 3)])
def test_cores_and_memory_both_count(ready: Harness, cpus: int, gib: int, fit: int) -> None:
    machine(ready, "one", cpus, gib)
    for name in ("blue", "green", "red"):
        there(ready, name)
    assert [len(at(ready, name)) for name in ("blue", "green", "red")] == [1] * fit + [0] * (3 - fit)


def test_instances_of_one_deployment_are_apart_while_they_can_be(ready: Harness) -> None:
    machine(ready, "one")
    machine(ready, "two")
    there(ready, "blue", 2)
    assert at(ready, "blue") == ["one", "two"]
    there(ready, "green")
    assert at(ready, "green") == ["one"]
    there(ready, "blue", 3)
    come_up(ready)
    assert at(ready, "blue") == ["one", "two", "two"] and state(ready) == "Succeeded"


def requirements(requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None) -> dict[str, Any]:
    given = {"containerResourceRequests": requests, "containerResourceLimits": limits}
    return {"containerResourceRequirements": {name: value for name, value in given.items() if value}}


def limits(harness: Harness, deployment: str) -> Limits:
    (task,) = (one for one in harness.engine.tasks.values() if one.server and one.server.deployment == deployment)
    return task.limits


@pytest.mark.parametrize("size", ["", "defaultinstancetype"])
def test_those_without_a_size_share_machines_too(ready: Harness, size: str) -> None:
    machine(ready, "one", 2, 8, gpus=1)
    for name in ("blue", "green", "red"):
        there(ready, name, size=size)
    assert at(ready, "blue") == at(ready, "green") == ["one"] and not at(ready, "red"), "a core for each"
    assert limits(ready, "blue").memory_bytes == 2 << 30
    assert "instance_type of the deployment" in limits(ready, "blue").more
    come_up(ready)
    assert state(ready) == "Succeeded"
    assert ready.get(BLUE).json()["properties"].get("instanceType") == (size or None), "as it was sent"


def test_one_that_an_older_version_started_has_its_machine_until_it_is_changed(ready: Harness) -> None:
    machine(ready, "one", 16, 64)
    there(ready, "blue", size="")
    with ready.database.write() as connection:
        connection.execute(update(allocation).where(allocation.c.family == "defaultinstancetype").values(family=""))
    there(ready, "green")
    assert at(ready, "blue") == ["one"] and not at(ready, "green")


def test_containers_share_a_machine_by_what_they_request(ready: Harness) -> None:
    machine(ready, "one", 2, 2)
    small = requirements({"cpu": "0.1", "memory": "0.5Gi"}, {"cpu": "1", "memory": "1Gi"})
    for name in ("blue", "green", "red"):
        there(ready, name, size="", **small)
    assert at(ready, "blue") == at(ready, "green") == ["one"] and not at(ready, "red"), "a part of a core counts as one"
    assert limits(ready, "blue").memory_bytes == 1 << 30
    assert "resources.limits of the deployment" in limits(ready, "blue").more
    come_up(ready)
    shown = ready.get(BLUE).json()["properties"]["containerResourceRequirements"]
    assert shown["containerResourceRequests"]["memory"] == "0.5Gi"


@pytest.mark.parametrize(
    ("given", "memory_gib"),
    [
        (requirements({"memory": "512Mi"}), 2),  # what is not said is of those without a size
        (requirements({"memory": "3Gi"}), 3),
        (requirements(limits={"memory": "1.5Gi"}), 1.5),
        (requirements(limits={"memory": 2 << 30}), 2),
        ({**requirements({"cpu": "1500m"}), "instanceType": ONE_CORE}, 3.5),
    ],
)
def test_what_a_container_may_use(ready: Harness, given: dict[str, Any], memory_gib: float) -> None:
    machine(ready, "one", 8, 64)
    deploy(ready, "blue", 1, **{"properties": {"smalt.compute": "cpu"}, "instanceType": None, **given})
    assert limits(ready, "blue").memory_bytes == int(memory_gib * (1 << 30))


def test_a_container_with_gpus_has_its_own(ready: Harness) -> None:
    machine(ready, "one", 8, 64, gpus=2)
    for name in ("blue", "green", "red"):
        there(ready, name, size="", **requirements({"gpu": "1"}, {"gpu": 1}))
    assert gpus(ready) == ["[0]", "[1]"] and not at(ready, "red")


@pytest.mark.parametrize(
    ("given", "target", "says"),
    [
        (requirements({"cpu": "two"}), "containerResourceRequests.cpu", "no quantity"),
        (requirements({"cpu": "0"}), "containerResourceRequests.cpu", "say some"),
        (requirements({"memory": "1e99Gi"}), "containerResourceRequests.memory", "no quantity"),
        (requirements(limits={"memory": "512"}), "containerResourceLimits.memory", 'such as "512Mi"'),
        (requirements({"gpu": "0.5"}), "containerResourceRequests.gpu", "whole ones"),
        (requirements({"memory": "2Gi"}, {"memory": "1Gi"}), "containerResourceRequests.memory", "no more than its"),
        (requirements({"gpu": "1"}, {"gpu": "2"}), "containerResourceRequests.gpu", "say the same"),
        ({"instanceType": "own:1:1:1:1"}, "", "is not known"),
        ({"instanceType": "defaultinstancetyp"}, "", "Did you mean 'defaultinstancetype'?"),
    ],
)
def test_resources_that_cannot_be(ready: Harness, given: dict[str, Any], target: str, says: str) -> None:
    machine(ready, "one")
    body = EXAMPLES[KEY].body(properties={"smalt.compute": "cpu"}, **given)
    answer = ready.put(BLUE, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert says in error["message"], error
    assert error["target"] == (
        f"properties.containerResourceRequirements.{target}" if target else "properties.instanceType"
    )


def test_jobs_have_machines_to_themselves(ready: Harness) -> None:
    machine(ready, "one", 16, 64)
    there(ready, "blue")
    there(ready, "green")
    submit(ready, "job", computeId=CPU)
    ready.settle()
    assert status(ready, "job") == "Queued"
    there(ready, "red")
    assert at(ready, "red") == ["one"], "a part of a node is nothing that the job could have"
    for name in ("blue", "green"):
        remove(ready, name)
        assert status(ready, "job") == "Queued"
    remove(ready, "red")
    assert status(ready, "job") == "Starting" and owners(ready) == {"one": "job"}
    there(ready, "blue")
    assert not at(ready, "blue")


def test_a_machine_with_the_number_of_one_that_was_removed_is_another(ready: Harness) -> None:
    machine(ready, "one")
    there(ready, "blue")
    come_up(ready)
    with ready.database.write() as connection:
        nodes.remove(connection, "one")
    machine(ready, "two")
    there(ready, "blue", 2)
    assert at(ready, "blue") == ["one"], "its node is held until the instance is given up"
    ready.engine.silent["one"] = 20.0
    for _ in range(2):
        ready.loop.hint(BLUE.lower())
        ready.settle()
        ready.clock.pass_(1)
    assert at(ready, "blue") == ["two", "two"] and owners(ready) == {"two": "blue"}


def test_each_has_gpus_of_its_own_by_index(ready: Harness) -> None:
    machine(ready, "one", 16, 448, gpus=2)
    there(ready, "blue", size=GPU)
    there(ready, "green", size=GPU)
    there(ready, "red", size=GPU)
    assert at(ready, "blue") == at(ready, "green") == ["one"] and not at(ready, "red")
    assert gpus(ready) == ["[0]", "[1]"]
    remove(ready, "blue")
    assert at(ready, "red") == ["one"] and gpus(ready) == ["[0]", "[1]"]


def test_a_revision_comes_up_beside_the_one_that_it_replaces_on_a_full_machine(ready: Harness) -> None:
    machine(ready, "one")
    there(ready, "blue")
    there(ready, "green")
    come_up(ready)
    there(ready, "blue", environmentVariables={"NEW": "1"})
    assert at(ready, "blue") == ["one", "one"]
    there(ready, "red")
    come_up(ready)
    assert at(ready, "blue") == ["one"] and state(ready) == "Succeeded" and not at(ready, "red")


def test_a_wait_for_room_ends_in_words_that_say_what_to_do(ready: Harness) -> None:
    machine(ready, "one", 3)
    there(ready, "blue")
    come_up(ready)
    operation = there(ready, "green", size="Standard_DS3_v2")
    log = ready.send("POST", f"{ENDPOINT}/deployments/green/getLogs", {}).json()["content"]
    says = (
        "room (each has 4 cores, 14.0 GiB) on a node of compute 'cpu'. Of 1 that have instances the best has 2 cores,"
        " 4.5 GiB left. Add a machine (smalt node add), delete a deployment"
    )
    assert says in log
    for _ in range(20):
        ready.clock.pass_(31)
        ready.settle()
    error = ready.get(operation).json()["error"]
    assert error["code"] == "DeploymentTimeout" and "not ready after 600 s" in error["message"]
    assert says in error["message"] and not waiting(ready)


def test_more_instances_than_there_is_room_for_are_a_timeout_and_the_others_serve(ready: Harness) -> None:
    machine(ready, "one")
    there(ready, "green")
    there(ready, "blue")
    come_up(ready)
    operation = there(ready, "blue", 2)
    for _ in range(20):
        assert state(ready) == "Updating"
        ready.clock.pass_(31)
        ready.settle()
    found = ready.get(operation).json()
    assert (found["status"], found["error"]["code"]) == ("Failed", "DeploymentTimeout")
    assert "1 of 2 instances were not ready" in found["error"]["message"]
    assert at(ready, "blue") == ["one"] and len(ready.row(BLUE).status["live"]["addresses"]) == 1
    remove(ready, "green")
    come_up(ready)
    assert at(ready, "blue") == ["one", "one"], "it goes on to try"


def test_how_many_there_can_be_counts_what_a_node_has_room_for(ready: Harness) -> None:
    machine(ready, "one", 4, 16)
    body = {**EXAMPLES[KEY].body(properties={"smalt.compute": "cpu"}, instanceType=ONE_CORE)}
    answer = ready.put(BLUE, {**body, "sku": {"name": "Default", "capacity": 13}})
    assert answer.status_code == 400 and "has room for at most 12" in answer.json()["error"]["message"]
    there(ready, "blue", 4)
    come_up(ready)
    assert at(ready, "blue") == ["one"] * 4 and state(ready) == "Succeeded"
