"""Numbers of endpoints and deployments: what Envoy and instances count, across restarts, refusals and changes of replicas."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from fakes.metrics import BLUE, ENDPOINT, answered, filled, metrics
from fakes.platform import Harness
from smalt.arm.ports import Traffic, Usage
from smalt.gateway.traffic import traffic
from smalt.kinds.insights import conditions
from smalt.kinds.insights.conditions import Condition
from smalt.metrics.answers import Answers
from smalt.metrics.collector import Collector
from smalt.metrics.recorder import Recorder
from smalt.metrics.usage import InUse
from smalt.sched.sizes import capacity_of
from smalt.store import resources, series


def test_an_envoy_that_was_started_again_counts_from_nothing(harness: Harness, collector: Collector) -> None:
    harness.gateway.counted = ("1 2", {("churn", "blue"): {"m": answered(100)}})
    collector.collect()
    harness.gateway.counted = ("7 8", {("churn", "blue"): {"m": answered(120)}})
    collector.collect()
    collector.collect()
    assert sum(filled(metrics(harness, BLUE, "RequestsPerMinute")["RequestsPerMinute"], "total")) == 220


def test_a_deployment_with_other_replicas_counts_from_nothing(harness: Harness, collector: Collector) -> None:
    for make, count in (("a", 100), ("b", 130), ("b", 145), ("a", 10), ("a", 5)):
        harness.gateway.counted = ("1 2", {("churn", "blue"): {make: answered(count)}})
        collector.collect()
    assert blue_total(harness) == 100 + 145 + 10 + 5


def test_what_a_make_counted_before_it_went_is_counted(harness: Harness, collector: Collector) -> None:
    where = ("churn", "blue")
    harness.gateway.counted = ("1 2", {where: {"a": answered(100)}})
    collector.collect()
    for count in (103, 107):
        collector.told("1 2", {where: {"a": answered(count)}})
    harness.gateway.counted = ("1 2", {where: {"b": answered(2)}})
    collector.collect()
    assert blue_total(harness) == 109
    collector.told("1 2", {where: {"a": answered(107)}})  # read before it went, and told late
    collector.collect()
    assert blue_total(harness) == 109


def test_what_was_told_and_could_not_be_written_is_kept(
    harness: Harness, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.told("1 2", {("churn", "blue"): {"a": answered(7)}})
    with monkeypatch.context() as patch:
        patch.setattr(series, "add", _fails)
        collector.collect()
    assert blue_total(harness) == 0
    collector.collect()
    assert blue_total(harness) == 7


def test_a_change_of_replicas_is_written_at_once(harness: Harness, collector: Collector) -> None:
    stopped = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stopped,))
    thread.start()
    try:
        collector.told("1 2", {("churn", "blue"): {"a": answered(7)}})
        end = time.monotonic() + 5  # far less than the pause between two looks
        while blue_total(harness) != 7:
            assert time.monotonic() < end
    finally:
        stopped.set()
        collector.wake()
        thread.join(5)
    assert not thread.is_alive()


def _fails(*_: object) -> None:
    raise OperationalError("", {}, Exception("database is locked"))


def blue_total(harness: Harness) -> float:
    return sum(filled(metrics(harness, BLUE, "RequestsPerMinute")["RequestsPerMinute"], "total"))


def test_an_envoy_that_does_not_answer_stops_nothing_else(
    harness: Harness, collector: Collector, recorder: Recorder
) -> None:
    recorder.record(BLUE, "Anything", 3.0)
    collector.collect()
    assert filled(metrics(harness, BLUE, "Anything")["Anything"], "average") == [3.0]


def test_envoys_text_is_read() -> None:
    said = """
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="churn/blue/1a2b"} 40
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="churn/blue/1a2b"} 2
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="server"} 900
envoy_cluster_upstream_rq_body_size_sum{envoy_cluster_name="churn/blue/1a2b"} 400
envoy_cluster_upstream_rs_body_size_sum{envoy_cluster_name="churn/blue/1a2b"} 80
envoy_cluster_upstream_cx_active{envoy_cluster_name="churn/blue/1a2b"} 3
envoy_cluster_upstream_cx_total{envoy_cluster_name="churn/blue/1a2b"} 7
envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="churn/blue/1a2b"} 2
envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name="churn/blue/1a2b"} 3
envoy_cluster_upstream_rq_timeout{envoy_cluster_name="churn/blue/1a2b"} 4
envoy_cluster_upstream_rq_pending_failure_eject{envoy_cluster_name="churn/blue/1a2b"} 6
envoy_cluster_upstream_cx_destroy_remote_with_active_rq{envoy_cluster_name="churn/blue/1a2b"} 3
envoy_cluster_upstream_rq_retry{envoy_cluster_name="churn/blue/1a2b"} 5
envoy_cluster_upstream_rq_retry_limit_exceeded{envoy_cluster_name="churn/blue/1a2b"} 3
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="churn/blue/1a2b",le="1"} 0
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="churn/blue/1a2b",le="5"} 30
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="churn/blue/1a2b",le="10"} 40
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="churn/blue/1a2b",le="+Inf"} 42
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="churn/blue/1a2b"} 150.5
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="churn/blue/1a2b"} 42
"""
    counted = Traffic({"200": 40, "503": 2}, 150.5, {5: 30, 10: 10, 20: 2}, 480, 3, 7, 5, 4, 9, 8)
    assert traffic(said) == {("churn", "blue"): {"1a2b": counted}}


def test_what_a_deployment_uses_is_a_part_of_what_an_instance_has(harness: Harness, recorder: Recorder) -> None:
    usage = InUse(harness.platform, recorder, capacity_of)
    with harness.database.write() as connection:
        row = resources.get(connection, BLUE)
        assert row is not None
        sized = {"properties": {"instanceType": "Standard_DS2_v2"}}  # two processors, 7 GiB
        resources.describe(connection, row, sized, archived=False, now=2.0, by="ada")
    for cpu_s in (1.0, 5.0):
        used = Usage("r1", BLUE.lower(), cpu_s, 7 << 29, 0.5, 2 << 30, 8 << 30, 150.0, "/mnt", 40.0)
        harness.engine.used = [used]
        usage.look()
        harness.clock.pass_(4)
    harness.engine.used = []
    usage.look()
    last = {key.name: point.last for key, point in recorder.totals() if key.scope == BLUE.lower()}
    assert last["CpuUtilizationPercentage"] == pytest.approx(50, rel=1e-3)
    assert last["CpuMemoryUtilizationPercentage"] == pytest.approx(50)
    assert last["DeploymentCapacity"] == 0
    assert last["GpuMemoryUtilizationPercentage"] == 25 and last["GpuEnergyJoules"] == pytest.approx(600, rel=1e-3)
    recorder.flush(harness.database)
    disk = metrics(harness, BLUE, "DiskUtilization", **{"$filter": "instanceId eq 'r1' and disk eq '*'"})
    assert filled(disk["DiskUtilization"], "average") == [40.0]


def test_instances_are_told_apart_by_whether_requests_come(harness: Harness, recorder: Recorder) -> None:
    """A rolling update within a minute: in each of its looks there are as many as there were, in the states that they had."""
    usage = InUse(harness.platform, recorder, capacity_of)
    looks = [
        ({"old"}, {"old"}, []),
        ({"old", "new"}, {"old"}, []),
        ({"old", "new"}, {"new"}, ["old"]),
        ({"new"}, {"new"}, []),
    ]
    for running, ready, old in looks:
        with harness.database.write() as connection:
            live = {"addresses": {name: f"unix:{name}" for name in sorted(ready)}}
            resources.merge_status(connection, BLUE, {"live": live, "old": old})
        harness.engine.used = [Usage(name, BLUE.lower(), 1.0, 1) for name in sorted(running)]
        usage.look()
        harness.clock.pass_(1)
    recorder.flush(harness.database)
    whole = metrics(harness, BLUE, "DeploymentCapacity", aggregation="Average,Minimum,Maximum")["DeploymentCapacity"]
    assert [filled(whole, one) for one in ("average", "minimum", "maximum")] == [[1.5], [1], [2]]
    states = metrics(harness, BLUE, "DeploymentCapacity", **{"$filter": "State eq '*'", "aggregation": "Maximum"})
    found = states["DeploymentCapacity"]["timeseries"]
    assert [max(one.get("maximum", 0) for one in line["data"]) for line in found] == [1, 1, 1]
    for label, wanted in (
        ("State", {"Ready": 1, "NotReady": 0.25, "Draining": 0.25}),
        ("instanceId", {"old": 0.75, "new": 0.75}),
    ):
        found = metrics(harness, BLUE, "DeploymentCapacity", **{"$filter": f"{label} eq '*'"})["DeploymentCapacity"]
        assert {
            line["metadatavalues"][0]["value"]: sum(one.get("average", 0) for one in line["data"])
            for line in found["timeseries"]
        } == wanted


def test_metrics_have_the_dimensions_that_azure_lists(harness: Harness, recorder: Recorder) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/reference/metrics-index, of endpoints and of deployments"""
    endpoints = {
        "ConnectionsActive": (),
        "DataCollectionErrorsPerMinute": ("deployment", "reason", "type"),
        "DataCollectionEventsPerMinute": ("deployment", "type"),
        "NetworkBytes": (),
        "NewConnectionsPerSecond": (),
        "RequestLatency": ("deployment",),
        **{f"RequestLatency_P{part}": ("deployment",) for part in (50, 90, 95, 99)},
        "RequestsPerMinute": ("deployment", "statusCode", "statusCodeClass", "modelStatusCode"),
    }
    used = ("CpuMemoryUtilization", "CpuUtilization", "GpuMemoryUtilization", "GpuUtilization")
    deployments = {
        **{f"{name}Percentage": ("instanceId",) for name in used},
        "DataCollectionErrorsPerMinute": ("instanceId", "reason", "type"),
        "DataCollectionEventsPerMinute": ("instanceId", "type"),
        "DeploymentCapacity": ("instanceId", "State"),
        "DiskUtilization": ("instanceId", "disk"),
        "GpuEnergyJoules": ("instanceId",),
        **{f"RequestLatency_P{part}": () for part in (50, 90, 95, 99)},
        "RequestsPerMinute": ("envoy_response_code",),
    }
    for of, wanted in ((ENDPOINT, endpoints), (BLUE, deployments)):
        answer = harness.get(f"{of}/providers/Microsoft.Insights/metricDefinitions?api-version=2018-01-01").json()
        defined = {one["name"]["value"]: {label["value"] for label in one["dimensions"]} for one in answer["value"]}
        assert {name: set(labels) - defined[name] for name, labels in wanted.items()} == {
            name: set() for name in wanted
        }
        for name, labels in wanted.items():
            for label in labels:
                metrics(harness, of, name, **{"$filter": f"{label} eq '*'"})


def test_a_deployments_statuses_are_found_by_azures_name_of_them(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "RequestsPerMinute", 1, {"statusCode": "424", "statusCodeClass": "4xx"})
    recorder.flush(harness.database)
    (line,) = metrics(harness, BLUE, "RequestsPerMinute", **{"$filter": "envoy_response_code eq '*'"})[
        "RequestsPerMinute"
    ]["timeseries"]
    assert line["metadatavalues"][0]["value"] == "424"


def test_instances_are_found_by_the_name_that_their_label_had_before(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "CpuUtilizationMillicores", 700, {"instance": "r0"})
    recorder.record(BLUE, "CpuUtilizationMillicores", 300, {"instanceId": "r1"})
    recorder.flush(harness.database)
    for spelled in ("instance", "instanceId"):
        for name, used in (("r0", 700), ("r1", 300)):
            found = metrics(harness, BLUE, "CpuUtilizationMillicores", **{"$filter": f"{spelled} eq '{name}'"})
            assert filled(found["CpuUtilizationMillicores"], "average") == [used]


def test_an_endpoints_connections_are_those_of_all_its_deployments(harness: Harness, recorder: Recorder) -> None:
    for deployment, connections in (("blue", 3), ("green", 5)):
        for _ in range(2):  # two looks within the minute
            recorder.record(f"{ENDPOINT}/deployments/{deployment}", "ConnectionsActive", connections)
    recorder.flush(harness.database)
    found = metrics(harness, ENDPOINT, "ConnectionsActive", aggregation="Average,Maximum")["ConnectionsActive"]
    assert filled(found, "average") == [8] and filled(found, "maximum") == [8]
    (blue, green) = metrics(harness, ENDPOINT, "ConnectionsActive", **{"$filter": "deployment eq '*'"})[
        "ConnectionsActive"
    ]["timeseries"]
    assert [one["average"] for one in blue["data"] if "average" in one] == [3]
    assert [one["average"] for one in green["data"] if "average" in one] == [5]
    with harness.database.read() as connection:
        above = Condition(ENDPOINT.lower(), "ConnectionsActive", "Average", "GreaterThan", 7, 300)
        assert [one.value for one in conditions.read(connection, above, harness.clock())] == [8]


def test_rates_are_of_the_time_since_the_last_look(harness: Harness, recorder: Recorder) -> None:
    answers = Answers(harness.platform, recorder, "here")
    for codes, size in (({"200": 1}, 10), ({"200": 1}, 10), ({"200": 2}, 510)):
        harness.gateway.counted = ("1", {("churn", "blue"): {"m": Traffic(codes, 1.0, {}, size, connected=size)}})
        answers.look()
        harness.clock.pass_(300 if size == 10 else 10)
    last = {key.name: point.last for key, point in recorder.totals()}
    assert last["NetworkBytes"] == last["NewConnectionsPerSecond"] == pytest.approx(500 / 300, rel=0.01)


def test_what_the_gateway_refused_has_the_status_that_clients_read_and_none_of_the_model(
    harness: Harness, recorder: Recorder
) -> None:
    answers = Answers(harness.platform, recorder, "here")
    for times in (1, 2):
        codes = {"200": 40 * times, "424": 2 * times, "500": times, "503": 9 * times, "504": 4 * times}
        one = Traffic(codes, 1.0, {}, connected=20 * times, overflows=7 * times, timeouts=3 * times)
        harness.gateway.counted = ("1", {("churn", "blue"): {"m": one}})
        harness.clock.pass_(10)
        answers.look()
    counted = {
        (labels["statusCode"], labels.get("modelStatusCode")): point.sum
        for key, point in recorder.totals()
        if (labels := dict(key.labels)) and key.name == "RequestsPerMinute"
    }
    assert counted == {
        ("200", "200"): 80,
        ("424", "500"): 4,  # the script failed
        ("500", "500"): 2,  # it gave that status itself
        ("429", None): 14,  # too many waited
        ("408", None): 6,  # it took too long
        ("503", None): 4,  # nobody was there
        ("504", "504"): 2,
    }
    asked = {"$filter": "modelStatusCode eq '500' and statusCode eq '*'", "aggregation": "Total"}
    found = metrics(harness, ENDPOINT, "RequestsPerMinute", **asked)["RequestsPerMinute"]["timeseries"]
    assert {one["metadatavalues"][0]["value"] for one in found} == {"424", "500"}
    rate = metrics(harness, BLUE, "NewConnectionsPerSecond")["NewConnectionsPerSecond"]
    assert rate["unit"] == "CountPerSecond" and filled(rate, "average")[-1] == pytest.approx(2, rel=0.01)


def test_what_a_replica_had_begun_with_is_counted_though_the_gateway_counts_no_status(
    harness: Harness, recorder: Recorder
) -> None:
    answers = Answers(harness.platform, recorder, "here")
    one = Traffic({"200": 7, "503": 1, "504": 1}, 1.0, {}, timeouts=3, broken=6, repeated=4)
    harness.gateway.counted = ("1", {("churn", "blue"): {"m": one}})
    answers.look()
    answers.look()
    counted = {
        dict(key.labels)["statusCode"]: point.sum for key, point in recorder.totals() if key.name == "RequestsPerMinute"
    }
    assert counted == {"200": 7, "503": 1, "408": 3, "502": 2}


def test_statuses_bytes_and_connections_of_answers(harness: Harness, recorder: Recorder) -> None:
    answers = Answers(harness.platform, recorder, "here")
    for connections in (3, 0):
        one = Traffic({"200": 40, "424": 2}, 150.5, {5: 42}, 480, connections)
        harness.gateway.counted = ("1", {("churn", "blue"): {"m": one}})
        harness.clock.pass_(10)
        answers.look()
    found = {(key.name, dict(key.labels).get("statusCode", "")): point for key, point in recorder.totals()}
    assert found["RequestsPerMinute", "424"].sum == 2 and found["RequestsPerMinute", "200"].sum == 40
    assert found["NetworkBytes", ""].mean == pytest.approx(48, rel=0.01)
    assert found["ConnectionsActive", ""].max == 3 and found["ConnectionsActive", ""].last == 0
