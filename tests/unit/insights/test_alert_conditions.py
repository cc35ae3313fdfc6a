"""The conditions of alerts: which numbers they compare, of which time, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.alerts import ALERT, BLUE, ENDPOINT, Receiver, Site
from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.kinds.insights import conditions
from smalt.kinds.insights.conditions import Condition
from smalt.metrics.names import LATENCY, REQUESTS
from smalt.metrics.recorder import Recorder
from smalt.store import series


def test_no_traffic_is_a_condition_too(tmp_path: Any, hook: Receiver) -> None:
    silent = {
        "odata.type": "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria",
        "allOf": [
            {
                "name": "silent",
                "metricName": "RequestsPerMinute",
                "operator": "LessThan",
                "threshold": 1,
                "timeAggregation": "Total",
            }
        ],
    }
    site = Site(tmp_path, hook, criteria=silent)
    site.answer(5)
    assert site.state == "Resolved"
    site.harness.clock.pass_(180)
    site.look()
    assert site.state == "Fired"
    site.harness.close()


def test_only_the_statuses_that_are_named(tmp_path: Any, hook: Receiver) -> None:
    dimension = {"name": "statusCodeClass", "operator": "Include", "values": ["5xx"]}
    failing = {
        "allOf": [
            {
                "name": "5xx",
                "metricName": "RequestsPerMinute",
                "operator": "GreaterThan",
                "threshold": 3,
                "timeAggregation": "Total",
                "dimensions": [dimension],
            }
        ],
    }
    site = Site(tmp_path, hook, criteria=failing)
    site.answer(5, count=50)
    assert site.state == "Resolved"
    for _ in range(30):
        site.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": "503", "statusCodeClass": "5xx"})
    site.look()
    assert site.state == "Fired" and "5xx" in hook.heard[0]["data"]["customProperties"]["reason"]
    site.harness.close()


@pytest.mark.parametrize(
    ("aggregation", "value"), [("Average", 120), ("Minimum", 0), ("Maximum", 200), ("Last", 200), ("Total", 600)]
)
def test_of_what_is_counted_the_sums_of_minutes_are_compared(
    tmp_path: Any, hook: Receiver, aggregation: str, value: float
) -> None:
    site = Site(tmp_path, hook)
    clock = site.harness.clock
    clock.pass_(60 - clock() % 60)
    for count in (200, 0, 200, 200):
        for at in range(count):
            site.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": str(200 + at % 2)})
        clock.pass_(60)
    site.recorder.flush(site.harness.database)
    condition = Condition(ENDPOINT.lower(), REQUESTS.name, aggregation, "GreaterThan", 1, 300)
    with site.harness.database.read() as connection:
        (found,) = conditions.read(connection, condition, clock())
    assert found.value == pytest.approx(value, rel=1e-3)
    site.harness.close()


@pytest.mark.parametrize(
    ("said", "looks"),
    [
        ({"evaluationFrequency": "PT1M", "windowSize": "PT5M"}, 6),
        ({"evaluationFrequency": "PT1M", "windowSize": "PT1H"}, 1),
        ({"evaluationFrequency": "PT5M", "windowSize": "PT5M"}, 1),
    ],
)
def test_it_is_looked_at_as_often_as_it_says(
    tmp_path: Any, hook: Receiver, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], looks: int
) -> None:
    site = Site(tmp_path, hook, **said)
    asked: list[float] = []
    real = conditions.read

    def read(connection: Any, one: Condition, now: float) -> Any:
        asked.append(now)
        return real(connection, one, now)

    monkeypatch.setattr(conditions, "read", read)
    for _ in range(6):
        site.answer(50, after_s=9)
    assert len(asked) == looks
    site.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(**said, severity=1))
    site.answer(50, after_s=1)
    assert len(asked) == looks + 1, "what is changed is looked at at once"
    site.harness.close()


@pytest.mark.parametrize(("window_s", "grain"), [(3600, 60), (6 * 3600, 3600), (86_400, 3600)])
def test_long_windows_are_read_by_the_hour(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, window_s: int, grain: int
) -> None:
    recorder, now = Recorder(harness.clock), harness.clock()
    prepare(harness, "workspaces/onlineendpoints/deployments")
    recorder.record(ENDPOINT, LATENCY.name, 7.0, spread=True)
    recorder.flush(harness.database)
    grains: list[int] = []
    real = series.read

    def read(*given: Any) -> Any:
        grains.append(given[3])
        return real(*given)

    monkeypatch.setattr(series, "read", read)
    condition = Condition(ENDPOINT.lower(), LATENCY.name, "Average", "GreaterThan", 1, window_s)
    with harness.database.read() as connection:
        (found,) = conditions.read(connection, condition, now)
    assert grains == [grain] and found.value == 7.0
