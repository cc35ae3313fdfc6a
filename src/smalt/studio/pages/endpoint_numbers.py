"""What the deployments of an endpoint did in the last hour, and what their instances use, as metrics have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from smalt.store.document import Document
from smalt.studio.visit import Visit

COUNTED = {"RequestsPerMinute": "requests", "ModelFailures": "failed"}
TIMES = {f"RequestLatency_P{part}": f"p{part}" for part in (50, 95, 99)}
USED = {"CpuUtilizationMillicores": "cpu", "CpuMemoryUtilizationMegabytes": "memory"}


async def numbers_of(visit: Visit, endpoint: str) -> dict[str, Document]:
    """By the deployment's name in lower case: requests, failed, p50, p95, p99 (ms; None: nothing was asked)."""
    asked = {
        "metricnames": ",".join((*COUNTED, *TIMES)),
        "$filter": "deployment eq '*'",
        "timespan": "PT1H",
        "interval": "PT2H",
        "aggregation": "Total,Average",
    }
    found: defaultdict[str, Document] = defaultdict(lambda: dict.fromkeys((*COUNTED.values(), *TIMES.values())))
    for name, labels, data in _series(await _metrics(visit, endpoint, asked)):
        of = found[labels["deployment"].lower()]
        if name in COUNTED:
            of[COUNTED[name]] = round(sum(one.get("total") or 0 for one in data))
        else:
            of[TIMES[name]] = max((one["average"] for one in data if one.get("average") is not None), default=None)
    return dict(found)


async def instances(visit: Visit, endpoint: str) -> list[Document]:
    """Those that ran in the last two minutes: deployment, instance, cpu (processors) and memory (MB), the newest."""
    asked = {
        "metricnames": ",".join(USED),
        "$filter": "deployment eq '*' and instanceId eq '*'",
        "timespan": "PT2M",
        "interval": "PT1M",
        "aggregation": "Average",
    }
    found: defaultdict[tuple[str, str], Document] = defaultdict(lambda: dict.fromkeys(USED.values()))
    for name, labels, data in _series(await _metrics(visit, endpoint, asked)):
        values = [one["average"] for one in data if one.get("average") is not None]
        if values:
            share = values[-1] / 1000 if name == "CpuUtilizationMillicores" else values[-1]
            found[labels["deployment"], labels["instanceid"]][USED[name]] = share
    return [{"deployment": of, "instance": one, **used} for (of, one), used in sorted(found.items())]


async def _metrics(visit: Visit, endpoint: str, asked: dict[str, str]) -> Document:
    return await visit.api.get(
        f"{endpoint}/providers/Microsoft.Insights/metrics", {"api-version": "2018-01-01", **asked}
    )


def _series(answer: Document) -> Iterator[tuple[str, dict[str, str], list[Document]]]:
    """Metric, labels, and what it has of each interval."""
    for metric in answer["value"]:
        for one in metric["timeseries"]:
            labels = {each["name"]["value"].lower(): each["value"] for each in one["metadatavalues"]}
            yield metric["name"]["value"], labels, one["data"]
