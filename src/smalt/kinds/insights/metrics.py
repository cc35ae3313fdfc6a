"""Numbers of a resource over time, as Azure Monitor answers them: `RESOURCE/providers/Microsoft.Insights/metrics`.

https://learn.microsoft.com/rest/api/monitor/metrics/list (2018-01-01 and later)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from smalt.arm.envelope import timestamp
from smalt.arm.ids import ResourceId
from smalt.arm.instances import COMPUTES
from smalt.arm.kind import EXTENDS, Document, Kind, Request
from smalt.arm.ports.serving import DEPLOYMENTS, ENDPOINTS
from smalt.arm.runs import JOBS
from smalt.kinds.insights.metrics_asked import AGGREGATIONS, DEPLOYMENT, PERCENTILE, Asked
from smalt.kinds.insights.metrics_asked import asked as read_asked
from smalt.metrics.names import (
    EACH,
    ENVOY_STATUS,
    INSTANCE,
    KNOWN,
    LATENCY,
    OF_COMPUTES,
    OF_DEPLOYMENTS,
    OF_JOBS,
    STATUS,
    Metric,
)
from smalt.settings import REGION
from smalt.store import resources, series
from smalt.store.series import HOUR, KEPT_S, MINUTE, Key, Point

INSIGHTS = "Microsoft.Insights"
_OF_KINDS: Mapping[str, Sequence[Metric]] = {
    ENDPOINTS: OF_DEPLOYMENTS,
    DEPLOYMENTS: OF_DEPLOYMENTS,
    JOBS: OF_JOBS,
    COMPUTES: OF_COMPUTES,
}
Labels = tuple[tuple[str, str], ...]


def _list(request: Request) -> tuple[int, Any]:
    of = request.id.holder
    with request.platform.database.read() as connection:
        known = defined(connection, of)
    asked = read_asked(request, known)
    grain = MINUTE if asked.by_minute else HOUR
    wanted = sorted({LATENCY.name if PERCENTILE.fullmatch(name) else name for name in asked.names})
    with request.platform.database.read() as connection:
        found = series.read(connection, scopes_of(connection, of.key), wanted, grain, asked.since, asked.until)
    return 200, {
        "cost": 0,
        "timespan": f"{_time(asked.since)}/{_time(asked.until)}",
        "interval": asked.interval,
        "namespace": "/".join(of.type),
        "resourceregion": REGION,
        "value": [_metric(of, name, asked, found) for name in asked.names],
    }


def scopes_of(connection: Connection, key: str) -> list[str]:
    """Of what resources the numbers are that a resource has: an endpoint's are its deployments'."""
    return [key, *resources.children(connection, key, DEPLOYMENTS)]


def labels_of(key: Key) -> dict[str, str]:
    """By lowered name. `instance` is what `instanceId` was once called: what was written then is read under both.

    So is a status under `envoy_response_code`, which is what Azure calls it where a deployment is asked.
    """
    found = {name.lower(): value for name, value in (*key.labels, (DEPLOYMENT, key.scope.rpartition("/")[2]))}
    for name, other in ((INSTANCE.lower(), "instance"), ("instance", INSTANCE.lower()), (STATUS.lower(), ENVOY_STATUS)):
        if name in found:
            found.setdefault(other, found[name])
    return found


def together(
    found: Mapping[Key, Mapping[int, Point]],
    name: str,
    apart: Callable[[Key], Labels | None],
    by: Iterable[str],
) -> dict[Labels, dict[int, Point]]:
    """The series of one metric by what tells them `apart` (None: not asked for), each with its points by their time.

    `by`: the labels that are asked for. Of what is recorded on several levels they decide which is read.
    """
    metric = KNOWN.get(name)
    adds = metric is not None and metric.adds
    level = _level(metric, by) if metric else None
    each: dict[Labels, dict[int, Point]] = {}
    for key, points in found.items():
        if (
            key.name != name
            or (labels := apart(key)) is None
            or (level is not None and {one for one, _ in key.labels} != level)
        ):
            continue
        into = each.setdefault(labels, {})
        for at, point in sorted(points.items()):
            if at not in into:
                into[at] = point.copy()
            elif adds:
                into[at] = into[at].beside(point)
            else:
                into[at].merge(point)
    return each


def _level(metric: Metric, by: Iterable[str]) -> set[str] | None:
    asked = {one.lower() for one in by}
    names = {one for one in metric.labels if one.lower() in asked}
    return next((set(level) for level in metric.levels if names <= set(level)), None)


def source_of(name: str) -> tuple[str, float | None]:
    """The metric that is recorded, and which part (0–1) of it lies below the value: of a percentile's name."""
    percentile = PERCENTILE.fullmatch(name)
    return (LATENCY.name, int(percentile[1]) / 100) if percentile else (name, None)


def _metric(id_: ResourceId, name: str, asked: Asked, found: Mapping[Key, Mapping[int, Point]]) -> Document:
    percentile = PERCENTILE.fullmatch(name)
    source = LATENCY.name if percentile else name
    metric = KNOWN.get(source) or Metric(source, "Unspecified", source)
    each = together(found, source, lambda key: _apart(labels_of(key), asked.labels), asked.labels)
    split: dict[Labels, dict[int, Point]] = {apart: {} for apart in each}
    for apart, points in each.items():
        for at, point in points.items():
            begin = asked.since + (at - asked.since) // asked.interval_s * asked.interval_s
            split[apart].setdefault(begin, Point()).merge(point)
    if not split and not any(_splits(values) for values in asked.labels.values()):
        split[()] = {}
    kept = sorted(split)
    if asked.most is not None or asked.order is not None:
        kept = _first(split, asked, metric, percentile)
    if metric.total:
        sums = {apart: {at: point.sum for at, point in points.items()} for apart, points in each.items()}
        shown = [_counted(apart, split[apart], asked, sums.get(apart, {})) for apart in kept]
    else:
        shown = [_timeseries(apart, split[apart], asked, percentile) for apart in kept]
    return {
        "id": f"{id_}/providers/{INSIGHTS}/metrics/{name}",
        "type": f"{INSIGHTS}/metrics",
        "name": {"value": name, "localizedValue": name},
        "displayDescription": metric.title,
        "unit": metric.unit,
        "errorCode": "Success",
        "timeseries": shown,
    }


def _first(
    split: Mapping[Labels, Mapping[int, Point]], asked: Asked, metric: Metric, percentile: re.Match[str] | None
) -> list[Labels]:
    """The series that are asked for of many, in their order; without one those with the most come first."""
    name, greatest = asked.order or (asked.aggregations[0], True)
    part = int(percentile[1]) / 100 if percentile else None
    ranks: dict[Labels, float] = {}
    for apart, points in split.items():
        whole = Point()
        for point in points.values():
            whole.merge(point)
        ranks[apart] = whole.sum if metric.total and name != "Count" else _values(whole, part).get(name, 0.0)
    return sorted(ranks, key=lambda one: (-ranks[one] if greatest else ranks[one], one))[: asked.most]


def _apart(labels: Mapping[str, str], asked: Mapping[str, tuple[str, ...]]) -> Labels | None:
    """By what a series is told apart from others that are asked for; None: it is not asked for."""
    if not all(label in labels and ("*" in values or labels[label] in values) for label, values in asked.items()):
        return None
    return tuple((label, labels[label]) for label, values in asked.items() if _splits(values))


def _splits(values: tuple[str, ...]) -> bool:
    return "*" in values or len(values) > 1


def _timeseries(
    apart: Iterable[tuple[str, str]],
    points: Mapping[int, Point],
    asked: Asked,
    percentile: re.Match[str] | None,
) -> Document:
    part = int(percentile[1]) / 100 if percentile else None
    return _shown(apart, asked, {at: _values(points.get(at), part) for at in asked.times})


def _counted(
    apart: Iterable[tuple[str, str]], points: Mapping[int, Point], asked: Asked, sums: Mapping[int, float]
) -> Document:
    """Of something that is counted: average, least and most are those of the minutes' sums, also of those without any.

    `sums`: by minute, or by hour.
    """
    values: dict[int, dict[str, float]] = {}
    for at in asked.times:
        point, minutes = points.get(at, Point()), asked.minutes(at)
        values[at] = {"Count": point.count, "Total": point.sum, "Average": point.sum / minutes}
        if asked.by_minute:
            each = [sums.get(minute, 0.0) for minute in range(at, at + minutes * MINUTE, MINUTE)]
            values[at] |= {"Minimum": min(each), "Maximum": max(each)}
    return _shown(apart, asked, values)


def _shown(apart: Iterable[tuple[str, str]], asked: Asked, values: Mapping[int, Mapping[str, float]]) -> Document:
    data = [
        {"timeStamp": _time(at), **{name.lower(): every[name] for name in asked.aggregations if name in every}}
        for at, every in values.items()
    ]
    return {
        "metadatavalues": [
            {"name": {"value": label, "localizedValue": label}, "value": value} for label, value in apart
        ],
        "data": data,
    }


def _values(point: Point | None, part: float | None) -> dict[str, float]:
    if point is None or not point.count:
        return {}
    value = point.quantile(part) if part is not None else None
    every: dict[str, float] = {"Count": point.count}
    if value is not None:  # of a percentile there is no sum
        every |= dict.fromkeys(("Average", "Minimum", "Maximum"), value)
    elif part is None:
        every |= {"Average": point.mean, "Minimum": point.min, "Maximum": point.max, "Total": point.sum}
    return every


def _time(at: float) -> str:
    return timestamp(at).replace(".000000Z", "Z")


def _definitions(request: Request) -> tuple[int, Any]:
    with request.platform.database.read() as connection:
        found = defined(connection, request.id.holder)
    return 200, {"value": [_definition(request.id.holder, one, name) for one, name in found]}


def defined(connection: Connection, id_: ResourceId) -> list[tuple[Metric, str]]:
    """What this resource may have, and what else was recorded of it: each with its name."""
    own = _OF_KINDS.get(id_.kind, ())
    recorded = series.names(connection, scopes_of(connection, id_.key))
    found = [(one, one.name) for one in own]
    if LATENCY in own:
        found += [(LATENCY, f"{LATENCY.name}_P{part}") for part in EACH]
    others = [name for name in recorded if name not in {one.name for one in own}]
    return found + [(Metric(name, "Unspecified", name), name) for name in others]


def _definition(id_: ResourceId, metric: Metric, name: str) -> Document:
    labels = (*((DEPLOYMENT,) if id_.kind == ENDPOINTS else ()), *metric.labels)
    return {
        "id": f"{id_}/providers/{INSIGHTS}/metricdefinitions/{name}",
        "resourceId": str(id_),
        "namespace": "/".join(id_.type),
        "name": {"value": name, "localizedValue": name},
        "displayDescription": metric.title,
        "unit": metric.unit,
        "primaryAggregationType": "Total" if metric.total else "Average",
        "supportedAggregationTypes": list(AGGREGATIONS),
        "metricAvailabilities": [
            {"timeGrain": "PT1M", "retention": f"P{KEPT_S[MINUTE] / 86_400:.0f}D"},
            {"timeGrain": "PT1H", "retention": f"P{KEPT_S[HOUR] / 86_400:.0f}D"},
        ],
        "dimensions": [{"value": label, "localizedValue": label} for label in labels],
    }


METRICS = Kind(path="metrics", title="metric", provider=INSIGHTS, scopes=EXTENDS, verbs={"LIST": _list})
DEFINITIONS = Kind(
    path="metricDefinitions", title="metric definition", provider=INSIGHTS, scopes=EXTENDS, verbs={"LIST": _definitions}
)
KINDS = [METRICS, DEFINITIONS]
