"""What Envoy counted of each deployment's answers, also over a change of its replicas and a new Envoy."""

from __future__ import annotations

from gateway_site import Site, endpoint, wait


def test_answers_are_counted_by_deployment_class_and_time(site: Site) -> None:
    blue, again = site.replica("counted")[0], site.replica("counted-again")[0]
    site.put(endpoint("counted", {"blue": 100}, {"blue": [blue]}))
    client = site.client()
    for _ in range(20):
        assert client.score("counted").status == 200
    assert site.gateway.traffic()[1]["counted", "blue"].codes == {"2xx": 20}
    wait(lambda: sum(site.gateway.traffic()[1]["counted", "blue"].buckets.values()) == 20, 10)
    process, found = site.gateway.traffic()
    one = found["counted", "blue"]
    assert one.sum_ms >= 0 and all(bound < 20_000 for bound in one.buckets)
    site.put(endpoint("counted", {"blue": 100}, {"blue": [again]}))
    for _ in range(5):
        assert client.score("counted").status == 200
    same, found = site.gateway.traffic()
    assert same == process and found["counted", "blue"].codes["2xx"] == 5, "with other replicas it begins anew"
    site.kill_envoy()
    site.start_envoy()
    assert site.client().score("counted").status == 200
    other, found = site.gateway.traffic()
    assert other != process and found["counted", "blue"].codes["2xx"] == 1
