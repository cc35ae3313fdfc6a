"""A replica that answers, and whose answers say that it does not work: others take its requests for a while."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPSConnection

import pytest
from gateway_site import KEY, Client, Site, endpoint, wait

from smalt.gateway.clusters import FAILURES


def statuses(client: Client, name: str, number: int, path: str = "/score") -> list[int]:
    return [client.score(name, path).status for _ in range(number)]


def counted(site: Site, name: str, what: str) -> int:
    """Of the replicas of an endpoint's deployment blue."""
    return int(site.stat(f"^cluster.{name}/blue/.*.outlier_detection.ejections_{what}$").split()[-1])


def set_aside(site: Site, name: str) -> int:
    return counted(site, name, "active")


@pytest.mark.parametrize("status", [500, 503, 424])
def test_after_a_few_failures_the_other_takes_the_requests(site: Site, status: int) -> None:
    name = f"failing-{status}"
    bad, process = site.replica(f"bad-{status}", status)
    good = site.replica(f"good-{status}")[0]
    site.put(endpoint(name, {"blue": 100}, {"blue": [bad, good]}))
    client = site.client()
    found = statuses(client, name, 40 * FAILURES)
    times = counted(site, name, "enforced_total")
    assert times >= 1 and FAILURES <= found.count(status) <= times * FAILURES + FAILURES - 1
    wait(lambda: client.score(name).status == status)  # it comes back,
    process.kill()
    process.wait()
    site.spawn(bad, "healed")
    wait(lambda: client.score(name).json.get("name") == "healed")  # and works by then
    client.close()


def test_the_only_one_is_never_set_aside(site: Site) -> None:
    site.put(endpoint("alone", {"blue": 100}, {"blue": [site.replica("alone", 500)[0]]}))
    client = site.client()
    assert statuses(client, "alone", 4 * FAILURES) == 4 * FAILURES * [500] and set_aside(site, "alone") == 0
    client.close()


def test_where_all_fail_alike_half_of_them_go_on_answering(site: Site) -> None:
    places = [site.replica(f"alike-{number}", 424)[0] for number in range(4)]
    site.put(endpoint("alike", {"blue": 100}, {"blue": places}))
    client = site.client()
    most = 0
    while not counted(site, "alike", "overflow"):  # until a third would have been set aside
        assert set(statuses(client, "alike", FAILURES)) == {424}
        most = max(most, set_aside(site, "alike"))
    assert most == 2
    client.close()


def test_what_fails_by_its_input_and_what_is_refused_sets_nobody_aside(site: Site) -> None:
    places = [site.replica(f"mixed-{number}")[0] for number in range(2)]
    site.put(endpoint("mixed", {"blue": 100}, {"blue": places}))
    client = site.client()
    assert set(statuses(client, "mixed", 10 * FAILURES, "/score?status=400")) == {400}
    for _ in range(4):
        statuses(client, "mixed", FAILURES - 1, "/score?status=424")
        statuses(client, "mixed", 8)  # each of them has one
    assert set_aside(site, "mixed") == 0
    client.close()


def alive(site: Site, *names: str) -> list[str]:
    there = {one.args[3]: one.poll() is None for one in site.processes}  # type: ignore[index]
    return [name for name in names if there[name]]


def test_what_a_replica_has_begun_is_given_to_no_other(site: Site) -> None:
    """A request that takes its replica down takes no second one, and its client is told."""
    site.put(endpoint("poison", {"blue": 100}, {"blue": [site.replica(name)[0] for name in ("first", "second")]}))
    client = site.client()
    answer = client.score("poison", "/score?begin=1&die=1")
    assert answer.status == 502 and answer.json["error"]["code"] == "InstanceEnded"
    assert "retry-after" not in answer.headers and answer.headers["azureml-model-deployment"] == "blue"
    wait(lambda: len(alive(site, "first", "second")) == 1)  # it is told as soon as the connection has ended
    (survivor,) = alive(site, "first", "second")
    assert client.score("poison", "/score?begin=1").json["name"] == survivor
    client.close()


def test_a_body_too_large_to_be_tried_again_is_a_503_that_says_so(site: Site) -> None:
    """Envoy would say 507, as plain text."""
    site.put(endpoint("gone", {"blue": 100}, {"blue": [site.at("gone")]}))
    context = ssl.create_default_context(cafile=str(site.settings.tls / "bundle.pem"))
    connection = HTTPSConnection("localhost", site.settings.port, context=context, timeout=20)
    connection.putrequest("POST", "/endpoints/gone/score")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.putheader("Content-Length", str(50 << 20))
    connection.endheaders(b"x" * (3 << 19))  # it answers before there is more
    answer = connection.getresponse()
    assert answer.status == 503 and answer.headers["retry-after"] == "1"
    assert json.loads(answer.read())["error"]["code"] == "ServiceUnavailable"
    connection.close()
