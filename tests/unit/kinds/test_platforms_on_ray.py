"""`smalt up --ray`: clusters of clients that know nothing of Ray have their nodes there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.jobs import status, submit
from fakes.platform import OWNER, WORKSPACE, Harness
from fakes.ray_clusters import COMPUTE, attach, dial_in, machines, pass_, shown, task_of
from smalt.arm.ports import Principal
from smalt.kinds.computes import ray as on_ray
from smalt.settings import TENANT


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
