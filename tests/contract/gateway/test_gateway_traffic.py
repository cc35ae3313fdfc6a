"""What Envoy counted of each deployment's answers, also over a change of its replicas and a new Envoy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from gateway_site import KEY, Load, Site, endpoint, wait

from smalt.arm.ports import Counted, DeploymentRoute, EndpointRoute, Traffic
from smalt.gateway import clusters

Seen = dict[tuple[str, str, str, str], Traffic]  # by process, endpoint, deployment and make


def see(seen: Seen, process: str, found: Counted) -> None:
    seen |= {(process, *where, make): one for where, makes in found.items() for make, one in makes.items()}


def answers(seen: Seen, endpoint: str) -> int:
    return sum(one.codes.get("200", 0) for key, one in seen.items() if key[1] == endpoint)


def only(site: Site, endpoint: str) -> Traffic:
    (one,) = site.gateway.traffic()[1][endpoint, "blue"].values()
    return one


def test_answers_are_counted_by_deployment_class_and_time(site: Site) -> None:
    blue, again = site.replica("counted")[0], site.replica("counted-again")[0]
    site.put(endpoint("counted", {"blue": 100}, {"blue": [blue]}))
    client = site.client()
    for _ in range(20):
        assert client.score("counted").status == 200
    assert only(site, "counted").codes == {"200": 20}
    wait(lambda: sum(only(site, "counted").buckets.values()) == 20)
    process, found = site.gateway.traffic()
    (make,) = found["counted", "blue"]
    one = only(site, "counted")
    assert one.sum_ms >= 0 and all(bound < 20_000 for bound in one.buckets)
    site.put(endpoint("counted", {"blue": 100}, {"blue": [again]}))
    for _ in range(25):
        assert client.score("counted").status == 200
    same, found = site.gateway.traffic()
    other = next(name for name in found["counted", "blue"] if name != make)
    assert same == process and found["counted", "blue"][other].codes["200"] == 25, "with other replicas it is another"
    site.kill_envoy()
    site.start_envoy()
    assert site.client().score("counted").status == 200
    again_process, found = site.gateway.traffic()
    assert again_process != process and found["counted", "blue"][other].codes["200"] == 1


def test_what_was_answered_before_the_replicas_change_is_told(site: Site) -> None:
    first, second = site.replica("told-1")[0], site.replica("told-2")[0]
    seen, client = Seen(), site.client()
    site.gateway.follow(lambda process, found: see(seen, process, found))
    site.put(endpoint("told", {"blue": 100}, {"blue": [first]}))
    for turn in range(1, 7):  # the same replicas again are another make
        for _ in range(7):
            assert client.score("told").status == 200
        hosts = [first, second] if turn % 2 else [first]
        site.put(*([endpoint("told", {"blue": 100}, {"blue": hosts})] if turn < 6 else []))
        assert answers(seen, "told") == 7 * turn
    client.close()


def test_who_keeps_its_replicas_goes_on_counting_and_is_not_told_of(site: Site) -> None:
    blue, green = site.replica("kept-blue")[0], site.replica("kept-green")[0]
    hosts = {"blue": [blue], "green": [green]}
    site.put(endpoint("kept", {"blue": 100}, hosts))
    seen, client = Seen(), site.client()
    site.gateway.follow(lambda process, found: see(seen, process, found))
    assert client.score("kept").status == 200
    site.put(endpoint("kept", {"green": 100}, hosts))
    site.put(endpoint("kept", {"blue": 100}, hosts), endpoint("beside", {"blue": 100}, {"blue": [green]}))
    assert client.score("kept").status == 200
    assert only(site, "kept").codes == {"200": 2} and seen == {}
    client.close()


@pytest.mark.serial  # what stalls the change alone makes that more
def test_under_load_only_what_is_in_flight_at_a_change_is_not_told(site: Site) -> None:
    paths = [site.replica(f"busy-{number}")[0] for number in range(9)]
    site.put(endpoint("busy", {"blue": 100}, {"blue": paths[:1]}))
    seen = Seen()
    site.gateway.follow(lambda process, found: see(seen, process, found))
    with Load(
        site, "busy", path="/score?sleep=0.004"
    ) as load:  # so that a change of some 10 ms meets few of each client
        for number in range(2, 9):
            load.more(100)
            site.put(endpoint("busy", {"blue": 100}, {"blue": paths[:number]}))
    see(seen, *site.gateway.traffic())
    assert len(load.answers) > 700 and load.failures() == []
    assert len(load.answers) - 7 * 4 * 4 <= answers(seen, "busy") <= len(load.answers)


def test_what_the_gateway_refuses_is_told_apart_from_what_replicas_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "QUEUE", 2)
    blue = site.replica("refused")[0]
    route = DeploymentRoute("blue", [blue], 1.0, 1)
    site.put(EndpointRoute("refused", (KEY,), {"blue": 100}, {}, [route]))
    client = site.client()
    assert [client.score("refused", f"/score?status={code}").status for code in (503, 504)] == [503, 504]
    assert client.score("refused", "/score?hold=1").status == 408
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda _: ask_alone(site, "refused", "/score?hold=1"), range(12)))
    assert set(statuses) == {408, 429}
    one = only(site, "refused")
    assert one.overflows == statuses.count(429) and one.timeouts == 1 + statuses.count(408)
    assert one.codes == {"503": 1 + one.overflows, "504": 1 + one.timeouts} and one.connected >= 1
    client.close()


def ask_alone(site: Site, endpoint: str, path: str) -> int:
    client = site.client()
    try:
        return client.score(endpoint, path).status
    finally:
        client.close()


def test_what_was_begun_counts_once_and_what_broke_is_told_from_what_was_repeated(site: Site) -> None:
    blue, process = site.replica("broken")
    site.put(endpoint("broken", {"blue": 100}, {"blue": [blue]}, timeout_s=1.5))
    client = site.client()
    assert client.score("broken", "/score?begin=1").status == 200
    assert client.score("broken", "/score?begin=1&hold=1").status == 408
    assert client.score("broken", "/score?begin=1&die=1").status == 502
    process.wait()
    one = only(site, "broken")
    assert one.codes == {"200": 1} and one.timeouts == 1 and (one.broken, one.repeated) == (1, 0)
    assert client.score("broken").status == 503
    one = only(site, "broken")
    assert one.codes == {"200": 1, "503": 1} and one.broken - one.repeated == 1
    client.close()
