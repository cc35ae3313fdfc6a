"""Deployments without an instance, and how many requests each has in flight, as a real Envoy has it."""

from __future__ import annotations

import threading
from dataclasses import replace

from gateway_site import Site, endpoint, wait

from smalt.arm.ports import EndpointRoute
from smalt.gateway.listener import ASLEEP_HEADER


def asleep(route: EndpointRoute) -> EndpointRoute:
    return replace(route, deployments=[replace(one, asleep=True) for one in route.deployments])


def test_who_wakes_a_deployment_is_told_which_and_nobody_else_can_say_so(site: Site) -> None:
    waker, awake = site.replica("waker")[0], site.replica("awake")[0]
    route = endpoint("sleepy", {"blue": 100}, {"blue": [waker]})
    site.put(asleep(route))
    client = site.client()
    answer = client.score("sleepy", **{ASLEEP_HEADER: "another/blue"})
    assert answer.status == 200 and answer.json["headers"][ASLEEP_HEADER] == "sleepy/blue"
    assert client.score("sleepy", key="wrong").status == 401
    site.put(replace(route, deployments=[replace(one, addresses=[awake]) for one in route.deployments]))
    answer = client.score("sleepy")
    assert answer.json["name"] == "awake" and ASLEEP_HEADER not in answer.json["headers"]


def test_a_request_outlasts_its_timeout_only_where_an_instance_has_to_start(site: Site) -> None:
    waker = site.replica("slow-waker")[0]
    route = endpoint("slow", {"blue": 100}, {"blue": [waker]}, timeout_s=0.2)
    site.put(asleep(route))
    assert site.client().score("slow", "/score?sleep=0.5").status == 200
    site.put(route)
    assert site.client().score("slow", "/score?sleep=0.5").status == 408


def test_one_that_was_passed_on_is_not_repeated_where_the_server_ends(site: Site) -> None:
    names = ("ending-one", "ending-two")
    site.put(asleep(endpoint("ending", {"blue": 100}, {"blue": [site.replica(name)[0] for name in names]})))
    client = site.client()
    assert client.score("ending", "/score?begin=1&die=1").status == 503
    there = [one for one in site.processes if one.args[3] in names]  # type: ignore[index]
    wait(lambda: sum(one.poll() is None for one in there) == 1)
    assert client.score("ending").status == 200
    client.close()


def test_requests_in_flight_are_counted_until_they_are_answered(site: Site) -> None:
    busy = site.replica("busy")[0]
    site.put(endpoint("busy", {"blue": 100}, {"blue": [busy]}))
    clients = [threading.Thread(target=lambda: site.client().score("busy", "/score?hold=1")) for _ in range(3)]
    for one in clients:
        one.start()
    wait(lambda: site.gateway.in_flight().get(("busy", "blue"), 0) == 3)
    assert site.client().score("busy", "/release").status == 200
    for one in clients:
        one.join()
    wait(lambda: site.gateway.in_flight().get(("busy", "blue"), 0) == 0)
