"""An endpoint's numbers, as Envoy counts them and as Azure Monitor's address shows them."""

from __future__ import annotations

from typing import Any

from fakes.platform import WORKSPACE, Harness
from smalt.arm.ports import Traffic
from smalt.store.spread import bound_of

ENDPOINT = f"{WORKSPACE}/onlineEndpoints/churn"
BLUE = f"{ENDPOINT}/deployments/blue"


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
