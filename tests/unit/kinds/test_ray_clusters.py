"""Clusters whose nodes Ray makes: how many are asked for, who is lost, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fakes import deployments
from fakes.examples import prepare
from fakes.jobs import JOBS, counts, status, submit
from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.ports import Principal, ProvidedNode
from smalt.kinds.computes import ray as on_ray
from smalt.sched import placement
from smalt.settings import TENANT
from smalt.store import nodes
from smalt.store.nodes import Machine

COMPUTE = f"{WORKSPACE}/computes/cpu"
RAY = {"url": "http://ray.example:8265", "token": "let-me-in"}


def attach(harness: Harness, most: int = 2, least: int = 0, ray: Mapping[str, Any] | None = RAY, **more: Any) -> Any:
    scale = {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": "PT100S"}
    machine = {"vmSize": "STANDARD_DS3_V2", "scaleSettings": scale, **({"ray": ray} if ray else {}), **more}
    return harness.put(COMPUTE, {"properties": {"computeType": "AmlCompute", "properties": machine}})


def machines(harness: Harness) -> list[Machine]:
    with harness.database.read() as connection:
        return nodes.of_compute(connection, COMPUTE.lower())


def dial_in(harness: Harness, state: str = nodes.CONNECTED) -> list[Machine]:
    """All of Ray's nodes are connected now, or silent."""
    with harness.database.write() as connection:
        for one in nodes.of_compute(connection, COMPUTE.lower()):
            nodes.note(
                connection,
                one.name,
                state=state,
                cpus=4,
                memory_bytes=8 << 30,
                address="192.0.2.1",
                seen_at=harness.clock(),
            )
    harness.loop.hint(COMPUTE.lower())
    harness.settle()
    return machines(harness)


def pass_(harness: Harness, seconds: float) -> None:
    harness.clock.now += seconds
    harness.loop.hint(COMPUTE.lower())
    harness.settle()


def task_of(harness: Harness, job: str) -> Any:
    (name,) = harness.row(f"{JOBS}/{job}").status["tasks"]
    return harness.engine.tasks[name]


def shown(harness: Harness) -> Any:
    return harness.get(COMPUTE).json()["properties"]


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


def test_a_silent_node_that_ray_has_still_is_left_to_come_back(ray: Harness) -> None:
    submit(ray, "a", computeId=COMPUTE)
    pass_(ray, 1)
    (one,) = dial_in(ray)
    dial_in(ray, nodes.SILENT)
    for _ in range(5):
        pass_(ray, 60)
    assert [again.name for again in machines(ray)] == [one.name]


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


@pytest.fixture
def platform_on_ray(tmp_path: Path) -> Iterator[Harness]:
    token = tmp_path / "ray.token"
    token.write_text("first\n")
    url = "http://ray.example:8265/"
    made = Harness(tmp_path, ray=url, ray_token_file=str(token), isolation="files")
    yield made
    made.close()


def test_a_cluster_of_a_client_that_knows_nothing_of_ray_has_its_nodes_there(platform_on_ray: Harness) -> None:
    """By `smalt up --ray`; and what is asked of Ray has the token that the file holds by then."""
    harness = platform_on_ray
    harness.caller = Principal("oid-ci", "ci", "servicePrincipal", TENANT)
    assert attach(harness, ray=None).status_code == 201
    assert attach(harness, ray=None, most=3).status_code == 201
    told = shown(harness)["properties"]["ray"]
    assert (told["url"], told["isolation"]) == ("http://ray.example:8265", "files")
    harness.caller = OWNER
    submit(harness, "a", computeId=COMPUTE)
    pass_(harness, 1)
    assert len(next(iter(harness.ray.asked.values()))) == 1
    Path(harness.settings.ray_token_file).write_text("second\n")
    dial_in(harness)
    assert (task_of(harness, "a").node, shown(harness)["provisioningErrors"]) == (machines(harness)[0].name, None)
    assert harness.ray.places[0].token == "first"
    assert on_ray.place_of(harness.platform, harness.row(COMPUTE)).token == "second"


def test_instances_and_serverless_jobs_stay_on_the_platforms_machine(platform_on_ray: Harness) -> None:
    harness = platform_on_ray
    instance = {"computeType": "ComputeInstance", "properties": {"vmSize": "STANDARD_DS3_V2"}}
    assert harness.put(f"{WORKSPACE}/computes/one", {"properties": instance}).status_code == 201
    for name, compute in (("a", {"computeId": f"{WORKSPACE}/computes/one"}), ("b", {})):
        submit(harness, name, **compute)
        harness.settle()
        assert status(harness, name) == "Starting"
    assert not harness.ray.asked


@pytest.fixture
def platform_with_head(tmp_path: Path) -> Iterator[Harness]:
    """By `smalt up --ray local`."""
    (folder := tmp_path / "own").mkdir()
    made = Harness(folder, ray="local")
    yield made
    made.close()


def test_a_cluster_on_the_head_that_the_platform_keeps_asks_the_one_that_is_there(platform_with_head: Harness) -> None:
    harness = platform_with_head
    settings = harness.settings
    assert attach(harness, ray=None).status_code == 201
    told = shown(harness)["properties"]["ray"]
    assert (told["url"], told["folder"]) == ("local", str(settings.ray_nodes))
    submit(harness, "a", computeId=COMPUTE)
    harness.settle()
    assert not harness.ray.asked and "has not begun yet" in shown(harness)["provisioningErrors"][0]["error"]["message"]
    one_of_two = replace(harness.platform, servers=replace(harness.platform.servers, me="this"))
    assert on_ray.home_of(one_of_two, harness.row(COMPUTE)) == "this", "another server has another head"
    for url, token in (("http://127.0.0.1:1", "first"), ("http://127.0.0.1:2", "second")):
        settings.ray_head.mkdir(exist_ok=True)
        settings.ray_head_file.write_text(json.dumps({"url": url, "token": token}))
        place = on_ray.place_of(harness.platform, harness.row(COMPUTE))
        assert (place.url, place.token, place.folder) == (url, token, str(settings.ray_nodes))
    pass_(harness, 10)
    assert len(next(iter(harness.ray.asked.values()))) == 1


def test_a_compute_is_put_as_it_was_read_on_a_head_that_is_kept_and_on_no_other(
    platform_with_head: Harness, harness: Harness
) -> None:
    attach(platform_with_head, ray=None)
    told = shown(platform_with_head)["properties"]["ray"]
    again = {name: told[name] for name in ("url", "folder", "isolation")}
    assert attach(platform_with_head, ray=again).status_code in (200, 201)
    assert shown(platform_with_head)["properties"]["ray"] == told
    answer = attach(harness, ray={"url": "local"})
    assert answer.status_code == 400 and "smalt up --ray local" in answer.text
    assert answer.json()["error"]["target"] == "properties.properties.ray.url"
