"""GPUs of deployments: each instance has its own, in one line with jobs; and gives them back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, live, state
from fakes.examples import EXAMPLES, prepare
from fakes.jobs import status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.arm.scale import decide
from smalt.store.tables import allocation, queue

GPU = "Standard_NC6s_v3"  # one GPU
TWO = "Standard_NC12s_v3"  # two


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    harness.engine.fit(gpus=2)
    return harness


def had(harness: Harness) -> list[list[int] | None]:
    """By instance, of those that live."""
    return sorted((harness.engine.tasks[name].gpus for name in live(harness)), key=str)


def held(harness: Harness) -> int:
    with harness.database.read() as connection:
        return len(connection.execute(select(allocation).where(allocation.c.gpus.is_not(None))).all())


def waiting(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        return list(connection.execute(select(queue.c.owner)).scalars())


def job(harness: Harness, name: str) -> str:
    cluster = {"computeType": "AmlCompute", "properties": {"vmSize": GPU, "scaleSettings": {"maxNodeCount": 4}}}
    harness.put(f"{WORKSPACE}/computes/gpus", {"location": "local", "properties": cluster})
    submit(harness, name, computeId=f"{WORKSPACE}/computes/gpus")
    harness.settle()
    return status(harness, name)


def test_each_instance_has_its_own_and_gives_it_back(ready: Harness) -> None:
    deploy(ready, capacity=2, instanceType=GPU)
    come_up(ready)
    assert had(ready) == [[0], [1]] and state(ready) == "Succeeded"
    first = min(live(ready))
    ready.engine.finish(first, 1)
    ready.settle()
    ready.clock.pass_(1)  # the pause after a death
    ready.settle()
    come_up(ready)
    assert had(ready) == [[0], [1]] and first not in live(ready)
    assert ready.send("DELETE", BLUE).status_code in (200, 202)
    ready.settle()
    assert not live(ready) and not held(ready) and ready.get(BLUE).status_code == 404


def test_it_waits_for_those_that_a_job_has_and_comes_before_a_later_job(ready: Harness) -> None:
    ready.engine.fit(gpus=1)
    assert job(ready, "a") == "Starting"
    deploy(ready, instanceType=GPU)
    assert not [name for name in live(ready) if name.startswith("srv-")]
    found = ready.get(f"{BLUE}/events").json()["value"]
    assert any("1 of 1 instances wait for GPUs" in one["reason"] for one in found)
    assert job(ready, "b") == "Queued"
    for name in live(ready):
        ready.engine.start(name)
        ready.engine.finish(name, 0)
    ready.settle()
    come_up(ready)
    assert state(ready) == "Succeeded" and had(ready) == [[0]] and status(ready, "b") == "Queued"


def test_one_that_cannot_have_them_in_time_fails_and_holds_up_nobody(ready: Harness) -> None:
    ready.engine.fit(gpus=1)
    job(ready, "a")
    deploy(ready, instanceType=GPU)
    assert len(waiting(ready)) == 1
    for _ in range(25):
        ready.clock.pass_(31)
        ready.settle()
    error = ready.get(f"{BLUE}").json()
    assert state(ready) == "Failed", error
    assert not waiting(ready)
    logs = ready.send("POST", f"{BLUE}/getLogs", {"tail": 5}).json()["content"]
    assert "1 of them waited for GPUs that others have" in logs


def test_a_size_without_gpus_sees_none_and_no_size_all(ready: Harness) -> None:
    deploy(ready, instanceType="Standard_DS3_v2")
    assert had(ready) == [[]]
    deploy(ready, name="green", instanceType=None)
    assert had(ready) == [None, []] or had(ready) == [[], None]


def test_more_than_the_machine_has_are_refused(ready: Harness) -> None:
    ready.engine.fit(gpus=0)
    body = {**EXAMPLES[KEY].body(instanceType=GPU), "sku": {"name": "Default", "capacity": 1}}
    answer = ready.put(BLUE, body)
    assert answer.status_code == 400 and answer.json()["error"]["target"] == "properties.instanceType"
    assert "1 GPU" in answer.text and "this machine has 0" in answer.text


@pytest.mark.parametrize(
    ("sku", "scales", "field"),
    [
        ({"capacity": 2}, None, "sku.capacity"),
        ({}, {"scaleType": "TargetUtilization", "maxInstances": 2}, "properties.scaleSettings.maxInstances"),
    ],
)
def test_more_instances_than_there_are_gpus_for_are_refused(ready: Harness, sku: Any, scales: Any, field: str) -> None:
    ready.engine.fit(gpus=3)
    deploy(ready, instanceType=TWO)
    (found,) = ready.get(f"{BLUE}/skus").json()["value"]
    assert found["capacity"]["maximum"] == 1
    more = {} if scales is None else {"scaleSettings": scales}
    body = {**EXAMPLES[KEY].body(instanceType=TWO, **more), "sku": {"name": "Default", **sku}}
    patch = {"sku": body["sku"], **({"properties": more} if more else {})}
    for answer in (ready.put(BLUE, body), ready.send("PATCH", BLUE, patch)):
        assert answer.status_code == 400 and answer.json()["error"]["target"] == field, answer.text
        assert f"2 instances of '{TWO}' need 4 GPUs; this machine has 3, for 1" in answer.text


def test_what_is_decided_later_is_no_more_than_there_are_gpus_for(ready: Harness) -> None:
    """By a setting of an earlier version, or of another size."""
    ready.engine.fit(gpus=3)
    deploy(ready, instanceType=TWO)
    come_up(ready)
    with ready.database.write() as connection:
        assert decide(connection, ready.row(BLUE).id, 2, ready.clock(), "/a/setting")
    ready.settle()
    assert had(ready) == [[0, 1]] and not waiting(ready) and state(ready) == "Succeeded"


def test_an_instance_more_of_what_serves_holds_up_no_job(ready: Harness) -> None:
    """Of five GPUs two deployments have four. Another instance would need two for ever; a job needs the one."""
    ready.engine.fit(gpus=5)
    deploy(ready, instanceType=TWO)
    deploy(ready, name="green", instanceType=TWO)
    come_up(ready)
    deploy(ready, instanceType=TWO, capacity=2)
    assert had(ready) == [[0, 1], [2, 3]]
    assert job(ready, "a") == "Starting"
    assert ready.send("DELETE", f"{ENDPOINT}/deployments/green").status_code in (200, 202)
    ready.settle()
    ready.clock.pass_(31)
    ready.settle()
    come_up(ready)
    assert [2, 3] in had(ready) and not waiting(ready) and state(ready) == "Succeeded"
