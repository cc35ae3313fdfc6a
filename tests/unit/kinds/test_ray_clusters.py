"""Clusters whose nodes Ray makes: how many are asked for, who is lost, what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fakes import deployments
from fakes.examples import prepare
from fakes.jobs import JOBS, counts, status, submit
from fakes.platform import OWNER, WORKSPACE, Harness
from fakes.ray_clusters import COMPUTE, RAY, attach, dial_in, machines, pass_, shown, task_of
from smalt.arm.ports import Principal, ProvidedNode
from smalt.kinds.computes import ray as on_ray
from smalt.sched import placement
from smalt.settings import TENANT
from smalt.store import nodes


@pytest.fixture
def ray(harness: Harness) -> Harness:
    assert attach(harness).status_code == 201
    harness.settle()
    return harness


def test_nothing_is_asked_of_ray_before_a_job_needs_it(ray: Harness) -> None:
    assert not ray.ray.asked and not ray.ray.places
    assert shown(ray)["properties"]["ray"].keys() == {"url", "folder", "isolation", "namespace"}
    assert "let-me-in" not in ray.get(COMPUTE).text


def test_a_job_gets_a_node_that_is_given_back_when_it_was_idle(ray: Harness) -> None:
    ray.environments.build_at_once = False
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    assert status(ray, "a") == "Queued" and not ray.engine.tasks, "nothing runs or is built on this machine"
    (wanted,) = next(iter(ray.ray.asked.values()))
    assert (wanted.cpus, wanted.gpus) == (4, 0) and ray.ray.places[0].token == "let-me-in"
    with ray.database.read() as connection:
        found = nodes.with_token(connection, wanted.token)
    assert found is not None and found.name == wanted.name and found.name.startswith("cpu-")
    assert shown(ray)["properties"]["nodeStateCounts"]["preparingNodeCount"] == 1
    dial_in(ray)
    assert task_of(ray, "a").node == wanted.name and counts(ray) == (1, 0)
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    assert (status(ray, "a"), counts(ray)) == ("Completed", (0, 1))
    asked = len(ray.ray.asked)
    pass_(ray, 50)
    assert len(machines(ray)) == 1
    pass_(ray, 60)
    assert not machines(ray) and len(ray.ray.asked) == asked, "it ends by itself: its token opens nothing"


def test_there_are_as_many_as_jobs_up_to_the_maximum(ray: Harness) -> None:
    for name in ("a", "b", "c"):
        submit(ray, name, computeId=COMPUTE)
    pass_(ray, 1)
    assert len(dial_in(ray)) == 2
    assert [status(ray, name) for name in ("a", "b", "c")] == ["Starting", "Starting", "Queued"]
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    assert status(ray, "c") == "Starting" and len(machines(ray)) == 2


def test_the_least_are_there_without_a_job(harness: Harness) -> None:
    attach(harness, least=1)
    harness.settle()
    (one,) = dial_in(harness)
    pass_(harness, 500)
    assert [again.name for again in machines(harness)] == [one.name]


def test_one_request_at_a_time_each_asked_for_until_it_is_done(ray: Harness) -> None:
    ray.ray.busy = True
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    submit(ray, "b", computeId=COMPUTE)
    pass_(ray, 1)
    assert [len(one) for one in ray.ray.asked.values()] == [1]
    ray.ray.busy = False
    pass_(ray, 1)
    assert [len(one) for one in ray.ray.asked.values()] == [1, 2]


def test_what_ray_says_of_a_node_that_cannot_be_is_shown_and_it_is_tried_again_later(ray: Harness) -> None:
    ray.ray.busy = True
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    (first,) = machines(ray)
    ray.ray.nodes = {first.name: ProvidedNode("dead", "Smalt is not installed there.")}
    ray.ray.busy = False
    pass_(ray, 1)
    assert not machines(ray)
    assert shown(ray)["provisioningErrors"][0]["error"]["message"] == "Smalt is not installed there."
    pass_(ray, 3)
    assert "Smalt is not installed" in ray.row(f"{JOBS}/a").status["reason"]
    assert not machines(ray)
    pass_(ray, 40)
    (second,) = dial_in(ray)
    assert second.name != first.name and status(ray, "a") == "Starting"
    assert shown(ray)["provisioningErrors"] is None


def test_a_node_that_waits_for_room_is_waited_for(ray: Harness) -> None:
    ray.ray.busy = True
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    (one,) = machines(ray)
    ray.ray.nodes = {one.name: ProvidedNode("waiting", "Ray has no room now.")}
    ray.ray.busy = False
    for _ in range(20):
        pass_(ray, 60)
    assert [again.name for again in machines(ray)] == [one.name]
    assert "Ray has no room now." in ray.row(f"{JOBS}/a").status["reason"]
    dial_in(ray)
    assert status(ray, "a") == "Starting"


def test_while_ray_is_away_jobs_wait_and_those_that_run_go_on(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    dial_in(ray)
    ray.ray.away = True
    submit(ray, "b", computeId=COMPUTE)
    pass_(ray, 1)
    pass_(ray, 1)
    assert (status(ray, "a"), status(ray, "b")) == ("Starting", "Queued")
    assert "cannot be reached" in shown(ray)["provisioningErrors"][0]["error"]["message"]
    assert len(machines(ray)) == 2
    ray.ray.away = False
    pass_(ray, 15)
    dial_in(ray)
    assert status(ray, "b") == "Starting"


def test_a_ray_that_is_away_is_asked_less_and_less_whatever_wakes_its_cluster(ray: Harness) -> None:
    ray.ray.away = True
    submit(ray, "a", computeId=COMPUTE)
    asked: list[float] = []
    for second in range(600):
        before = len(ray.ray.places)
        pass_(ray, 1)
        asked += [second] * (len(ray.ray.places) - before)
    assert [round((two - one) / 10) for one, two in pairwise(asked)] == [1, 2, 4, *[6] * 8]
    ray.ray.away = False
    pass_(ray, 60)
    dial_in(ray)
    assert status(ray, "a") == "Starting" and "away" not in ray.row(COMPUTE).status["ray"]


@pytest.mark.parametrize("said", [None, ProvidedNode("dead", "its machine died"), ProvidedNode("waiting", "no room")])
def test_a_silent_node_that_ray_has_lost_is_lost_after_half_a_minute(ray: Harness, said: ProvidedNode | None) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    (one,) = dial_in(ray)
    ray.ray.nodes = {one.name: said} if said else {}
    dial_in(ray, nodes.SILENT)
    pass_(ray, 20)
    assert len(machines(ray)) == 1
    pass_(ray, 20)
    assert one.name not in [again.name for again in machines(ray)]


@pytest.mark.parametrize("said", ["running", "starting"])
def test_a_silent_node_that_ray_has_still_is_left_to_come_back(ray: Harness, said: str) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    (one,) = dial_in(ray)
    ray.ray.nodes = {one.name: ProvidedNode(said)}
    dial_in(ray, nodes.SILENT)
    for _ in range(4):
        pass_(ray, 60)
    assert [again.name for again in machines(ray)] == [one.name]
    pass_(ray, 100)  # what ran there is lost
    assert (one.name in [again.name for again in machines(ray)]) == (said == "running")


def test_a_delete_ends_the_nodes_and_tells_ray(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    dial_in(ray)
    assert ray.send("DELETE", COMPUTE).status_code == 409, "a job runs there"
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    assert ray.send("DELETE", COMPUTE).status_code == 202
    for _ in range(5):
        pass_(ray, 1)
    assert ray.get(COMPUTE).status_code == 404 and not machines(ray)
    assert list(ray.ray.asked.values())[-1] == [] and not ray.ray.nodes


def test_a_delete_does_not_wait_for_ever_for_a_ray_that_is_away(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    dial_in(ray)
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    ray.ray.away = True
    ray.send("DELETE", COMPUTE)
    pass_(ray, 1)
    assert ray.get(COMPUTE).status_code == 200
    pass_(ray, 90)
    assert ray.get(COMPUTE).status_code == 404


def test_a_delete_that_ray_refuses_is_tried_again_after_a_while(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    dial_in(ray)
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    ray.ray.error = "no driver could be started"
    ray.send("DELETE", COMPUTE)
    ray.settle()
    ray.clock.now += 1
    ray.settle()
    row = ray.row(COMPUTE)
    assert row.deleting and row.status["ray"]["made"] and row.status["ray"]["retry_at"] > ray.clock()
    step = on_ray.remove(ray.platform, row)
    assert not step.gone and step.after == pytest.approx(row.status["ray"]["retry_at"] - ray.clock())
    asked = len(ray.ray.asked)
    ray.ray.error = ""
    for _ in range(3):
        pass_(ray, 15)
    assert ray.get(COMPUTE).status_code == 404 and len(ray.ray.asked) == asked + 1


def test_a_delete_leaves_no_nodes_behind_in_the_queue(harness: Harness) -> None:
    attach(harness, least=1)
    harness.settle()
    dial_in(harness)
    with harness.database.read() as connection:
        assert placement.nodes(connection, COMPUTE.lower())
    harness.send("DELETE", COMPUTE)
    for _ in range(3):
        pass_(harness, 1)
    assert harness.get(COMPUTE).status_code == 404
    with harness.database.read() as connection:
        assert not placement.nodes(connection, COMPUTE.lower())


def test_a_delete_ends_whatever_is_raised(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    dial_in(ray)
    ray.engine.finish(task_of(ray, "a").name, 0)
    ray.settle()
    ray.ray.broken = ValueError("nobody has thought of this")
    ray.send("DELETE", COMPUTE)
    pass_(ray, 1)
    assert ray.get(COMPUTE).status_code == 200
    pass_(ray, 90)
    assert ray.get(COMPUTE).status_code == 404


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "http://ray:dash"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://head:8265:1"}, "url"),
        ({"url": "http://head:8265", "token": "gehe\u00efm"}, "token"),
    ],
)
def test_an_address_that_is_none_makes_no_compute(harness: Harness, given: dict[str, str], field: str) -> None:
    answer = attach(harness, ray=given)
    assert answer.status_code == 400 and answer.json()["error"]["target"] == f"properties.properties.ray.{field}"
    assert harness.get(COMPUTE).status_code == 404


def test_clients_that_know_nothing_of_ray_change_the_scale_and_nothing_else(ray: Harness) -> None:
    before = shown(ray)["properties"]["ray"]
    assert attach(ray, most=5, ray=None).status_code in (200, 201)
    assert shown(ray)["properties"]["ray"] == before
    ray.settle()
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    assert ray.ray.places[0].token == "let-me-in"


def test_what_is_refused(harness: Harness) -> None:
    assert attach(harness, ray={"url": "ray://head:10001"}).status_code == 400
    assert attach(harness, ray={"url": "http://x:1", "isolation": "none"}).status_code == 400
    harness.caller = Principal("oid-ci", "ci", "servicePrincipal", TENANT)
    assert attach(harness).status_code == 403
    harness.caller = OWNER
    instance = {"computeType": "ComputeInstance", "properties": {"vmSize": "STANDARD_DS3_V2", "ray": RAY}}
    assert harness.put(f"{WORKSPACE}/computes/one", {"properties": instance}).status_code == 400
    attach(harness, ray=None)
    answer = attach(harness)
    assert answer.status_code == 409 and "delete it first" in answer.text
    assert harness.send("DELETE", COMPUTE).status_code in (200, 202)
    harness.settle()
    attach(harness)
    assert attach(harness, ray={"url": "http://other:8265"}).status_code == 409


def test_a_job_on_two_nodes_has_two_made_for_it(ray: Harness) -> None:
    submit(ray, "wide", computeId=COMPUTE, resources={"instanceCount": 2})
    pass_(ray, 1)
    assert len(next(iter(ray.ray.asked.values()))) == 2
    first, second = dial_in(ray)
    assert status(ray, "wide") == "Starting"
    assert ray.row(f"{JOBS}/wide").status["machines"] == [first.name, second.name]


def test_instances_share_the_nodes_that_are_made_for_them(ray: Harness) -> None:
    prepare(ray, deployments.KEY)
    there = {"properties": {"smalt.compute": "cpu"}, "instanceType": "Standard_DS1_v2"}
    deployments.deploy(ray, capacity=2, **there)
    (one,) = dial_in(ray)
    assert [ray.engine.tasks[name].node for name in deployments.live(ray)] == [one.name] * 2, "8 GiB have room for two"
    deployments.deploy(ray, "green", **there)
    assert len(dial_in(ray)) == 2 and len(deployments.live(ray)) == 3
    deployments.come_up(ray)
    assert (deployments.state(ray), deployments.state(ray, "green")) == ("Succeeded", "Succeeded")
    for name in ("blue", "green"):
        assert ray.send("DELETE", f"{deployments.ENDPOINT}/deployments/{name}").status_code in (200, 202)
    ray.settle()
    pass_(ray, 101)
    assert not machines(ray)


def test_only_the_owner_runs_jobs_there(ray: Harness) -> None:
    ray.caller = Principal("oid-ci", "ci", "servicePrincipal", TENANT)
    answer = submit(ray, "a", computeId=COMPUTE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "OwnerOnly")
    assert submit(ray, "b").status_code == 201
