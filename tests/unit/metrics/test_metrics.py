"""Numbers over time: recorded, collected from Envoy and tasks, read at Azure Monitor's address and by Prometheus."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.jobs import JOBS, submit
from fakes.metrics import BLUE, ENDPOINT, answered, filled, metrics
from fakes.platform import WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.arm.ports import Usage
from smalt.metrics import prometheus
from smalt.metrics.collector import Collector
from smalt.metrics.recorder import IDLE_S, Recorder
from smalt.store import resources, series
from smalt.store.series import HOUR, MINUTE, Key, Point
from smalt.store.spread import GROWTH, bound_of, bounds_ms
from smalt.tracking.runs.measured import Measured


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
    metrics(harness, BLUE, "RequestsPerMinute", timespan="P10675199D", interval="P10675199D")


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
