"""What changed of an endpoint, beside what it answered; and the way back, one change at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.deployments import BLUE, ENDPOINT, KEY, come_up, deploy, live, traffic
from fakes.examples import prepare
from fakes.platform import WORKSPACE, Harness
from smalt.cli.commands.endpoints import lines
from smalt.metrics.names import LATENCY, REQUESTS
from smalt.metrics.recorder import Recorder


@pytest.fixture
def site(harness: Harness) -> Harness:
    prepare(harness, KEY)
    for name in ("blue", "green"):
        deploy(harness, name)
        come_up(harness)
    traffic(harness, blue=100)
    return harness


def release(harness: Harness, number: str, name: str = "blue") -> None:
    harness.clock.pass_(60)
    deploy(harness, name, environmentVariables={"RELEASE": number})
    come_up(harness)


def running(harness: Harness) -> list[str]:
    return [harness.engine.tasks[name].variables.get("RELEASE", "") for name in live(harness) if "r" in name]


def back(harness: Harness, **body: Any) -> Any:
    answer = harness.send("POST", f"{ENDPOINT}/rollback", body)
    harness.settle()
    come_up(harness)
    return answer


def test_the_last_change_is_undone_and_then_the_one_before(site: Harness) -> None:
    release(site, "1")
    release(site, "2")
    answer = back(site)
    assert answer.status_code == 202 and answer.json()["change"] == ["environmentVariables.RELEASE is another"]
    assert site.get(answer.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
    assert "1" in running(site) and "2" not in running(site)
    back(site)
    assert site.get(BLUE).json()["properties"].get("environmentVariables") is None
    assert site.get(f"{ENDPOINT}/deployments/blue").json()["properties"]["provisioningState"] == "Succeeded"


def test_traffic_goes_back_to_where_it_went(site: Harness) -> None:
    release(site, "1")
    site.clock.pass_(60)
    traffic(site, green=100)
    assert back(site).json()["change"] == ["traffic: green 100 → blue 100"]
    assert site.gateway.route("churn-scores").traffic == {"blue": 100}
    assert "1" in running(site)


def test_what_takes_no_traffic_is_undone_only_where_it_is_named(site: Harness) -> None:
    release(site, "1")
    release(site, "9", "green")
    assert back(site).json()["deployment"] == "blue"
    assert back(site, deployment="green").json()["deployment"] == "green"
    assert "9" not in running(site)
    assert back(site, deployment="none").status_code == 400


def test_where_there_is_no_way_back(harness: Harness) -> None:
    prepare(harness, KEY)
    deploy(harness)
    assert back(harness).status_code == 409


def test_traffic_does_not_go_back_to_what_is_gone(site: Harness) -> None:
    traffic(site, green=100)
    site.send("DELETE", BLUE)
    site.settle()
    answer = back(site)
    assert answer.status_code == 409 and "no deployment 'blue'" in answer.json()["error"]["message"]
    assert "traffic: green 100 → blue 100" in answer.json()["error"]["message"]
    first, green = site.get(f"{ENDPOINT}/history").json()["rollbacks"]
    assert first == {"refused": answer.json()["error"]["message"]}
    assert green == {"deployment": "green", "refused": "No earlier traffic or deployment of it is known."}


def test_what_a_rollback_would_do_is_told_before(site: Harness) -> None:
    release(site, "1")
    site.clock.pass_(60)
    traffic(site, green=100)
    first, blue, _ = site.get(f"{ENDPOINT}/history").json()["rollbacks"]
    assert first["change"] == ["traffic: green 100 → blue 100"] == back(site).json()["change"]
    assert blue["change"] == ["environmentVariables is another"]
    assert blue["undone"] == back(site, deployment="blue", undone=blue["undone"]).json()["undone"]


def test_whoever_undoes_what_is_undone_already_is_told(site: Harness) -> None:
    release(site, "1")
    release(site, "2")
    told = site.get(f"{ENDPOINT}/history").json()["rollbacks"][0]["undone"]
    assert back(site, undone=told).status_code == 202
    again = back(site, undone=told)
    assert again.status_code == 409 and again.json()["error"]["target"] == "undone"
    assert "1" in running(site), "what is served is as the first left it"


def test_a_put_that_changes_nothing_is_no_change(site: Harness) -> None:
    release(site, "1")
    release(site, "1")
    assert back(site).json()["change"] == ["environmentVariables is another"]
    assert site.row(BLUE).status.get("before") in (None, [])


def test_changes_and_latency_on_one_axis(site: Harness) -> None:
    recorder = Recorder(site.clock)
    for ms, number in ((50.0, "1"), (800.0, "2")):
        release(site, number)
        for _ in range(10):
            recorder.record(BLUE, LATENCY.name, ms, spread=True)
            recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": "200", "statusCodeClass": "2xx"})
    recorder.flush(site.database)
    deploy(site, model=f"{WORKSPACE}/models/churn-model/versions/1", capacity=2)
    found = site.get(f"{ENDPOINT}/history?timespan=PT30M").json()
    assert [one["p50"] > 400 for one in found["minutes"]] == [False, True]
    changes = [one for one in found["value"] if one.get("deployment") == "blue" and one["what"] == "updated"]
    assert len(changes) == 3 and changes[0]["by"] == "ada"
    assert "sku.capacity: 1 → 2" in changes[-1]["change"]
    shown = list(lines(found))
    assert any("deployment blue updated by ada" in line for line in shown)
    assert [line.split()[0] for line in shown[1:]] == sorted(line.split()[0] for line in shown[1:])
    assert site.get(f"{ENDPOINT}/history?timespan=P9D").status_code == 400


def test_a_deployment_that_failed_says_so(site: Harness) -> None:
    deploy(site, "brown")
    task = list(site.engine.tasks)[-1]
    site.engine.finish(task, 3, "init() raised")
    site.settle()
    changes = site.get(f"{ENDPOINT}/history").json()["value"]
    assert [one["change"] for one in changes if one.get("deployment") == "brown" and one["what"] == "state"] == [
        ["Failed"]
    ]


def test_what_is_kept_of_long_documents_is_bounded_and_the_last_is_there(site: Harness) -> None:
    for number in range(8):
        deploy(site, environmentVariables={"TEXT": str(number) * 20_000})
    kept = site.row(BLUE).status["before"]
    assert [one["spec"]["properties"]["environmentVariables"]["TEXT"][0] for one in kept] == ["4", "5", "6"]
    deploy(site, environmentVariables={"TEXT": "x" * 100_000})
    deploy(site, environmentVariables={"TEXT": "y"})
    (only,) = site.row(BLUE).status["before"]
    assert only["spec"]["properties"]["environmentVariables"]["TEXT"][0] == "x"


def test_changes_that_are_kept_are_bounded_too(site: Harness) -> None:
    for number in range(40):
        tags = {f"p{at}": f"{number}" * 90 for at in range(20)}
        deploy(site, x=tags)
    status = site.row(BLUE).status
    assert len(json.dumps(status["changed"])) <= 64 << 10 and len(status["changed"]) > 3
