"""Numbers over time: recorded, collected from Envoy and tasks, read at Azure Monitor's address and by Prometheus."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.arm.ports import Traffic, Usage
from smalt.gateway.traffic import traffic
from smalt.kinds.insights import conditions
from smalt.kinds.insights.conditions import Condition
from smalt.metrics import prometheus
from smalt.metrics.answers import Answers
from smalt.metrics.collector import Collector
from smalt.metrics.recorder import IDLE_S, Recorder
from smalt.metrics.usage import InUse
from smalt.sched.sizes import capacity_of
from smalt.store import resources, series
from smalt.store.series import HOUR, MINUTE, Key, Point
from smalt.store.spread import GROWTH, bound_of, bounds_ms
from smalt.tracking.runs.measured import Measured

ENDPOINT = f"{WORKSPACE}/onlineEndpoints/churn"
BLUE = f"{ENDPOINT}/deployments/blue"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    made = Harness(tmp_path)
    with made.database.write() as connection:
        for written, parent, kind in (
            (ENDPOINT, WORKSPACE, "workspaces/onlineendpoints"),
            (BLUE, ENDPOINT, "workspaces/onlineendpoints/deployments"),
            (f"{ENDPOINT}/deployments/green", ENDPOINT, "workspaces/onlineendpoints/deployments"),
        ):
            resources.insert(
                connection, key=written.lower(), written=written, kind=kind, parent=parent.lower(),
                name=written.rpartition("/")[2], spec={"properties": {}}, status={}, state="Succeeded", now=1.0, by="ada",
            )  # fmt: skip
    return made


@pytest.fixture
def recorder(harness: Harness) -> Recorder:
    return Recorder(harness.clock)


@pytest.fixture
def collector(harness: Harness, recorder: Recorder) -> Collector:
    return Collector(harness.platform, recorder)


def answered(count: int, each_ms: float = 4, **codes: int) -> Traffic:
    return Traffic(codes or {"200": count}, count * each_ms, {bound_of(each_ms): count})


def metrics(harness: Harness, of: str, names: str, **query: str) -> dict[str, Any]:
    asked = "&".join(f"{name}={value}" for name, value in {"metricnames": names, **query}.items())
    answer = harness.get(f"{of}/providers/Microsoft.Insights/metrics?api-version=2018-01-01&{asked}")
    assert answer.status_code == 200, answer.text
    return {one["name"]["value"]: one for one in answer.json()["value"]}


def filled(one: dict[str, Any], aggregation: str) -> list[float]:
    (line,) = one["timeseries"]
    return [point[aggregation] for point in line["data"] if point.get(aggregation)]


def test_requests_of_the_last_hour_are_read_by_the_minute(harness: Harness, collector: Collector) -> None:
    total = 0
    for minute in range(5):
        total += 10 * (minute + 1)
        harness.gateway.counted = ("1 2", {("churn", "blue"): {"m": answered(total)}})
        collector.collect()
        harness.clock.pass_(60)
    again = Collector(harness.platform, Recorder(harness.clock))  # the server was started again; Envoy was not
    again.collect()
    found = metrics(
        harness, BLUE, "RequestsPerMinute,RequestLatency_P50,RequestLatency_P99", aggregation="Total,Average"
    )
    assert filled(found["RequestsPerMinute"], "total") == [10, 20, 30, 40, 50]
    for name in ("RequestLatency_P50", "RequestLatency_P99"):
        assert all(4 / GROWTH <= value <= 4 * GROWTH for value in filled(found[name], "average"))
    whole = metrics(harness, ENDPOINT, "RequestsPerMinute", interval="PT1H")
    assert sum(filled(whole["RequestsPerMinute"], "total")) == 150


def test_of_what_is_counted_average_least_and_most_are_those_of_minutes(harness: Harness, recorder: Recorder) -> None:
    harness.clock.pass_(7200 - harness.clock.now % 3600)
    begin = harness.clock.now
    for count in (30, 0, 60):
        for at in range(count):
            recorder.record(BLUE, "RequestsPerMinute", 1, {"statusCode": str(200 + at % 2)})
        harness.clock.pass_(60)
    recorder.flush(harness.database)
    span = f"{datetime.fromtimestamp(begin, UTC):%Y-%m-%dT%H:%M:%SZ}/{datetime.fromtimestamp(begin + 180, UTC):%Y-%m-%dT%H:%M:%SZ}"
    for interval in ("PT3M", "PT1H"):
        query = {"timespan": span, "interval": interval, "aggregation": "Average,Minimum,Maximum,Total"}
        (line,) = metrics(harness, BLUE, "RequestsPerMinute", **query)["RequestsPerMinute"]["timeseries"]
        (point,) = line["data"]
        assert [point[name] for name in ("average", "minimum", "maximum", "total")] == [30, 0, 60, 90], interval
    minutes = metrics(harness, BLUE, "RequestsPerMinute", timespan=span, aggregation="Average")["RequestsPerMinute"]
    assert [point["average"] for point in minutes["timeseries"][0]["data"]] == [30, 0, 60]


def test_a_span_of_an_age_is_as_long_as_numbers_are_kept(harness: Harness) -> None:
    metrics(harness, BLUE, "RequestsPerMinute", timespan="P999999999D", interval="P999999999D")


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


def test_series_are_told_apart_by_what_is_asked(harness: Harness, collector: Collector) -> None:
    counted = {("churn", "blue"): {"m": answered(6, **{"200": 5, "503": 1})}, ("churn", "green"): {"m": answered(2)}}
    harness.gateway.counted = ("1 2", counted)
    collector.collect()
    found = metrics(harness, ENDPOINT, "RequestsPerMinute", **{"$filter": "statusCodeClass eq '*'"})
    shown = {
        line["metadatavalues"][0]["value"]: max(point["total"] for point in line["data"])
        for line in found["RequestsPerMinute"]["timeseries"]
    }
    assert shown == {"2xx": 7, "5xx": 1}
    several = "(statusCode eq '200' or statusCode eq '503' or statusCode eq '404') and deployment eq 'blue'"
    found = metrics(harness, ENDPOINT, "RequestsPerMinute", **{"$filter": several})["RequestsPerMinute"]["timeseries"]
    assert [(line["metadatavalues"][0]["value"], line["data"][-1]["total"]) for line in found] == [
        ("200", 5),
        ("503", 1),
    ]
    green = metrics(harness, ENDPOINT, "RequestsPerMinute", **{"$filter": "deployment eq 'green'"})
    assert filled(green["RequestsPerMinute"], "total") == [2]


def test_the_first_of_many_series_and_all_of_the_time_in_one_value(harness: Harness, collector: Collector) -> None:
    codes = {"200": 50, "404": 7, "424": 9, "503": 3}
    harness.gateway.counted = ("1 2", {("churn", "blue"): {"m": answered(69, **codes)}})
    collector.collect()
    apart = {"$filter": "statusCode eq '*'", "interval": "FULL", "aggregation": "Total,Count"}

    def shown(**more: str) -> list[tuple[str, float]]:
        lines = metrics(harness, ENDPOINT, "RequestsPerMinute", **apart, **more)["RequestsPerMinute"]["timeseries"]
        assert all(len(line["data"]) == 1 and line["data"][0]["count"] for line in lines)
        return [(line["metadatavalues"][0]["value"], line["data"][0]["total"]) for line in lines]

    assert sum(total for _, total in shown()) == 69
    assert shown(top="2") == [("200", 50), ("424", 9)]
    assert shown(top="2", orderby="sum asc") == [("503", 3), ("404", 7)]
    assert [code for code, _ in shown(orderby="Average desc")] == ["200", "424", "404", "503"]
    unchecked = {"$filter": "color eq '*'", "ValidateDimensions": "false"}
    assert metrics(harness, ENDPOINT, "RequestLatency", **unchecked)["RequestLatency"]["timeseries"] == []


def test_what_a_job_uses(harness: Harness, collector: Collector) -> None:
    submit(harness)
    harness.settle()
    job = harness.row(f"{JOBS}/train-1")
    for cpu_s in (10.0, 25.0):
        harness.engine.used = [Usage("task-0", job.id, cpu_s, 300_000_000, 0.5, 2_000_000_000)]
        collector.collect()
        harness.clock.pass_(10)
    names = (
        "CpuUtilizationMillicores,CpuMemoryUtilizationMegabytes,GpuUtilizationMilliGPUs,GpuMemoryUtilizationMegabytes"
    )
    found = metrics(harness, f"{JOBS}/train-1", names)
    values = [filled(one, "average")[0] for one in found.values()]
    assert [round(value) for value in values] == [1500, 300, 500, 2000]
    defined = harness.get(f"{JOBS}/train-1/providers/Microsoft.Insights/metricDefinitions").json()["value"]
    assert {one["name"]["value"] for one in defined} == set(names.split(","))


def test_a_resource_takes_its_numbers_along(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "Anything", 3.0)
    recorder.flush(harness.database)
    with harness.database.write() as connection:
        resources.remove(connection, BLUE.lower(), 2.0)
    with harness.database.read() as connection:
        assert not connection.exec_driver_sql("SELECT * FROM series").all()
        assert not connection.exec_driver_sql("SELECT * FROM rollup").all()


def test_what_cannot_be_written_is_kept_for_the_next_time(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "Anything", 3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recorder.flush(harness.database)
    recorder.record(BLUE, "Anything", 5.0)
    recorder.flush(harness.database)
    found = metrics(harness, BLUE, "Anything", aggregation="Total,Count,Minimum,Maximum")["Anything"]
    assert [filled(found, one) for one in ("total", "count", "minimum", "maximum")] == [[8.0], [2], [3.0], [5.0]]


def test_old_points_are_forgotten_by_their_grain(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "Anything", 3.0)
    recorder.flush(harness.database)
    now = harness.clock.now + series.KEPT_S[MINUTE] + HOUR
    with harness.database.write() as connection:
        assert series.forget(connection, now) == 1
        left = series.read(connection, [BLUE.lower()], [], HOUR, 0, now)
    assert [point.sum for points in left.values() for point in points.values()] == [3.0]


@pytest.mark.parametrize("part", [0.5, 0.9, 0.95, 0.99])
def test_a_quantile_is_near_the_true_one(part: float) -> None:
    values = [1.5**power for power in range(20)]
    point = Point()
    for value in values:
        point.add(value, bound_of(value))
    true = values[min(int(part * len(values)), len(values) - 1)]
    found = point.quantile(part)
    assert found is not None and true / 1.6 <= found <= true * 1.6
    assert set(point.buckets) - {bound_of(values[-1])} <= {*bounds_ms(), *map(bound_of, values)}


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


def test_prometheus_reads_what_is_shown(recorder: Recorder) -> None:
    recorder.record("", "ReconcileStepSeconds", 0.02, {"kind": "workspaces/jobs"}, spread=True)
    recorder.record(BLUE, "CpuUtilizationMillicores", 700, {"instanceId": 'odd "one"\n'})
    recorder.note({(Key(BLUE.lower(), "RequestsPerMinute", (("statusCodeClass", "2xx"),)), 0): Point(3, 3, 1, 1, 1)})
    families = {one.name: one for one in text_string_to_metric_families(prometheus.text(recorder.totals()).decode())}
    (requests,) = families["smalt_requests_per_minute"].samples
    assert (requests.labels["resource"], requests.value) == (BLUE.lower(), 3)
    (cpu,) = families["smalt_cpu_utilization_millicores"].samples
    assert (cpu.labels["instanceId"], cpu.value) == ('odd "one"\n', 700)
    steps = {one.name: one.value for one in families["smalt_reconcile_step_seconds"].samples}
    assert steps["smalt_reconcile_step_seconds_count"] == 1


def test_what_has_ended_is_forgotten_whether_somebody_looks_or_not(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "Anything", 1.0)
    harness.clock.pass_(IDLE_S + 1)
    recorder.record(BLUE, "Another", 1.0)
    recorder.flush(harness.database)
    assert [key.name for key in recorder._totals] == ["Another"]


def test_labels_cannot_eat_the_memory(harness: Harness, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.metrics.recorder.MOST_SERIES", 10)
    for number in range(50):
        recorder.record(BLUE, "Anything", 1.0, {"user": str(number)})
    assert len(list(recorder.totals())) == 10
    recorder.flush(harness.database)
    recorder.record(BLUE, "Anything", 1.0, {"user": "0"})
    assert sum(point.count for _, point in recorder.totals()) == 11


def test_what_a_run_logs_is_there_under_its_jobs_id(recorder: Recorder) -> None:
    workspace, path = ResourceId.parse(WORKSPACE), "/api/2.0/mlflow/runs"
    batch = {"run_id": "train-1", "metrics": [{"key": "loss", "value": 0.5}, {"key": "loss", "value": 0.25}]}
    heard: list[Any] = []

    def told(*what: Any) -> None:
        heard.append(what)

    for rest, body in (
        ("log-metric", {"run_id": "train-1", "key": "auc", "value": 0.9, "step": 1}),
        ("log-batch", batch),
        ("log-batch", {"run_id": "train-1", "metrics": [{"key": "odd", "value": "NaN"}, {"key": "odd"}]}),
        ("log-batch", ["value"]),
        ("log-parameter", {"run_id": "train-1", "key": "trees", "value": "50"}),
    ):
        Measured(recorder.record_all, told).asked(workspace, f"{path}/{rest}", json.dumps(body).encode())
    found = {(key.scope, key.name): (point.count, point.last) for key, point in recorder.totals()}
    job = f"{WORKSPACE}/jobs/train-1".lower()
    assert found == {(job, "auc"): (1, 0.9), (job, "loss"): (2, 0.25)}
    home = WORKSPACE.lower()
    assert heard == [(home, "train-1", [("auc", 0.9, 1)]), (home, "train-1", [("loss", 0.5, 0), ("loss", 0.25, 0)])]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("timespan=yesterday", "timespan"),
        ("timespan=2026-01-02T00:00:00Z/2026-01-01T00:00:00Z", "timespan"),
        ("interval=PT90S", "interval"),
        ("interval=fast", "interval"),
        ("top=0", "top"),
        ("top=many", "top"),
        ("orderby=Median", "orderby"),
        ("orderby=Total sideways", "orderby"),
        ("$filter=color eq '*'", "$filter"),
        ("$filter=instanceId eq 'a' and statusCod eq '200'", "$filter"),
        ("aggregation=Median", "aggregation"),
        ("$filter=a or b", "$filter"),
        ("$filter=statusCode eq '200' or deployment eq 'blue'", "$filter"),
        ("metricnames=RequestPerMinute", "metricnames"),
        ("timespan=P400D&interval=PT1M", "timespan"),
    ],
)
def test_a_wrong_question_is_refused(harness: Harness, query: str, field: str) -> None:
    named = "" if query.startswith("metricnames") else "metricnames=requestsperminute&"
    answer = harness.get(f"{BLUE}/providers/Microsoft.Insights/metrics?{named}{query}")
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, field)


def test_a_time_span_is_read_as_clients_write_it(harness: Harness, recorder: Recorder) -> None:
    recorder.record(BLUE, "Anything", 3.0)
    recorder.flush(harness.database)
    begin, end = (
        datetime.fromtimestamp(harness.clock.now + shift, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        for shift in (-600, 60)
    )
    for span in (f"{begin}/{end}", quote(quote(f"{begin}/{end}".replace("Z", ""), safe=""))):  # az escapes it twice
        found = metrics(harness, BLUE, "Anything", timespan=span, interval="PT5M")
        assert filled(found["Anything"], "average") == [3.0]


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
