"""GPUs of deployments: each instance has its own, in one line with jobs; and gives them back."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from fakes.deployments import BLUE, KEY, come_up, deploy, live, state
from fakes.examples import EXAMPLES, prepare
from fakes.jobs import status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.store.tables import allocation, queue

GPU = "Standard_NC6s_v3"  # one GPU


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
