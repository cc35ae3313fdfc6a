"""Numbers of a resource over time, as Azure Monitor answers them: `RESOURCE/providers/Microsoft.Insights/metrics`.

https://learn.microsoft.com/rest/api/monitor/metrics/list (2018-01-01 and later)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.envelope import timestamp
from smalt.arm.errors import invalid
from smalt.arm.ids import ResourceId
from smalt.arm.instances import COMPUTES
from smalt.arm.kind import EXTENDS, Document, Kind, Request
from smalt.arm.ports.serving import DEPLOYMENTS, ENDPOINTS
from smalt.arm.runs import JOBS
from smalt.metrics.names import EACH, INSTANCE, KNOWN, LATENCY, OF_COMPUTES, OF_DEPLOYMENTS, OF_JOBS, Metric
from smalt.settings import REGION
from smalt.store import resources, series
from smalt.store.series import HOUR, KEPT_S, MINUTE, Key, Point

INSIGHTS = "Microsoft.Insights"
DEPLOYMENT = "deployment"  # by which every metric of an endpoint is told apart
_OF_KINDS: Mapping[str, Sequence[Metric]] = {
    ENDPOINTS: OF_DEPLOYMENTS,
    DEPLOYMENTS: OF_DEPLOYMENTS,
    JOBS: OF_JOBS,
    COMPUTES: OF_COMPUTES,
}
Labels = tuple[tuple[str, str], ...]
_SPAN_S = 3600.0
_MOST_POINTS = 11_000
PERCENTILE = re.compile(rf"{LATENCY.name}_P({'|'.join(map(str, EACH))})", re.IGNORECASE)
_TERM = re.compile(r"\(*\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*\)*", re.IGNORECASE)
_JOINED = re.compile(r"\s+(and|or)\s+(?=\(*\s*\w+\s+\w+\s+')", re.IGNORECASE)
_AGGREGATIONS = {one.lower(): one for one in ("Average", "Count", "Minimum", "Maximum", "Total")}


@dataclass(frozen=True)
class Asked:
    """`labels`: label → its values, or '*': a series for each value of it, where there may be several."""

    names: Sequence[str]
    since: int
    until: int
    interval_s: int
    interval: str
    aggregations: Sequence[str]
    labels: Mapping[str, tuple[str, ...]]
    now: float

    @property
    def by_minute(self) -> bool:
        """Whether minutes are read: longer intervals are of hours. But what minutes had, of something that is counted,
        only they can say, as long as they are kept."""
        if self.interval_s % HOUR:
            return True
        each = {"Minimum", "Maximum"} & set(self.aggregations)
        counted = any(name in KNOWN and KNOWN[name].total for name in self.names)
        return bool(each) and counted and self.since >= self.now - KEPT_S[MINUTE]

    def minutes(self, at: int) -> int:
        """So many the interval that begins then has until now."""
        return max(math.ceil((min(at + self.interval_s, self.until, int(self.now) + 1) - at) / MINUTE), 1)

    @property
    def times(self) -> range:
        return range(self.since, self.until, self.interval_s)


def _list(request: Request) -> tuple[int, Any]:
    of = request.id.holder
    with request.platform.database.read() as connection:
        known = [name for _, name in defined(connection, of)]
    asked = _asked(request, known)
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
    """By lowered name. `instance` is what `instanceId` was once called: what was written then is read under both."""
    found = {name.lower(): value for name, value in (*key.labels, (DEPLOYMENT, key.scope.rpartition("/")[2]))}
    one = found.get(INSTANCE.lower(), found.get("instance"))
    return found if one is None else found | {INSTANCE.lower(): one, "instance": one}


def together(
    found: Mapping[Key, Mapping[int, Point]], name: str, apart: Callable[[Key], Labels | None]
) -> dict[Labels, dict[int, Point]]:
    """The series of one metric by what tells them `apart` (None: not asked for), each with its points by their time."""
    adds = name in KNOWN and KNOWN[name].adds
    each: dict[Labels, dict[int, Point]] = {}
    for key, points in found.items():
        if key.name != name or (labels := apart(key)) is None:
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


def source_of(name: str) -> tuple[str, float | None]:
    """The metric that is recorded, and which part (0–1) of it lies below the value: of a percentile's name."""
    percentile = PERCENTILE.fullmatch(name)
    return (LATENCY.name, int(percentile[1]) / 100) if percentile else (name, None)


def _metric(id_: ResourceId, name: str, asked: Asked, found: Mapping[Key, Mapping[int, Point]]) -> Document:
    percentile = PERCENTILE.fullmatch(name)
    source = LATENCY.name if percentile else name
    metric = KNOWN.get(source) or Metric(source, "Unspecified", source)
    each = together(found, source, lambda key: _apart(labels_of(key), asked.labels))
    split: dict[Labels, dict[int, Point]] = {apart: {} for apart in each}
    for apart, points in each.items():
        for at, point in points.items():
            begin = asked.since + (at - asked.since) // asked.interval_s * asked.interval_s
            split[apart].setdefault(begin, Point()).merge(point)
    if not split and not any(_splits(values) for values in asked.labels.values()):
        split[()] = {}
    if metric.total:
        sums = {apart: {at: point.sum for at, point in points.items()} for apart, points in each.items()}
        shown = [_counted(apart, points, asked, sums.get(apart, {})) for apart, points in sorted(split.items())]
    else:
        shown = [_timeseries(apart, points, asked, percentile) for apart, points in sorted(split.items())]
    return {
        "id": f"{id_}/providers/{INSIGHTS}/metrics/{name}",
        "type": f"{INSIGHTS}/metrics",
        "name": {"value": name, "localizedValue": name},
        "displayDescription": metric.title,
        "unit": metric.unit,
        "errorCode": "Success",
        "timeseries": shown,
    }


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


def _asked(request: Request, known: Sequence[str]) -> Asked:
    """`known`: the metrics that the resource has. Raises ArmError(400)."""
    query = {name.lower(): value for name, value in request.query.items()}
    given = [one.strip() for one in query.get("metricnames", "").split(",") if one.strip()] or known[:1]
    spelled = {name.lower(): name for name in known}
    if unknown := [one for one in given if one.lower() not in spelled]:
        message = f"metricnames: there is no metric '{unknown[0][:100]}' here; there are: {', '.join(known) or 'none'}."
        raise invalid(message, "metricnames")
    names = [spelled[one.lower()] for one in given]
    since, until = _span(query.get("timespan", ""), request.now)
    interval = query.get("interval") or "PT1M"
    interval_s = int(seconds_of(interval, MINUTE, "interval"))
    if interval_s < MINUTE or interval_s % MINUTE:
        raise invalid(
            f"interval: '{interval}' is not a number of whole minutes; write PT1M, PT5M, PT1H, P1D.", "interval"
        )
    since -= since % interval_s
    if (until - since) / interval_s > _MOST_POINTS:
        raise invalid(f"timespan: it has more than {_MOST_POINTS} intervals of {interval}.", "timespan")
    asked = [one.strip() for one in query.get("aggregation", "").split(",") if one.strip()]
    for one in asked:
        if one.lower() not in _AGGREGATIONS:
            raise invalid(f"aggregation: '{one}' is none of {', '.join(_AGGREGATIONS.values())}.", "aggregation")
    first = KNOWN.get(names[0]) if names else None
    default = ["Total"] if first is not None and first.total else ["Average"]
    aggregations = [_AGGREGATIONS[one.lower()] for one in asked] or default
    return Asked(
        names, since, until, interval_s, interval, aggregations, _labels(query.get("$filter", "")), request.now
    )


def _span(text: str, now: float) -> tuple[int, int]:
    """`FROM/TO`, two times (of UTC, where they do not say), or a duration that ends now; else the last hour.

    `az` escapes it twice.
    """
    begin, _, end = (text := unquote(text)).partition("/")
    try:
        if not text:
            return int(now - _SPAN_S), int(now) + 1
        if not end:
            return int(now - min(seconds_of(text, 0, "timespan"), KEPT_S[HOUR])), int(now) + 1
        since, until = (int(_moment(one).timestamp()) for one in (begin, end))
    except (ValueError, OverflowError):
        raise invalid(f"timespan: '{text[:100]}' is not FROM/TO, two times in ISO 8601.", "timespan") from None
    if since >= until:
        raise invalid(f"timespan: '{text[:100]}' ends before it begins.", "timespan")
    return max(since, int(now - KEPT_S[HOUR])), until


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace(" ", "+"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _labels(text: str) -> dict[str, tuple[str, ...]]:
    """`$filter`: LABEL eq 'VALUE', joined by `and`, values of one label by `or`; '*' for each value there is."""
    found: dict[str, tuple[str, ...]] = {}
    label, joined = "", "and"
    for term in _JOINED.split(text.strip()) if text.strip() else []:
        if term.lower() in ("and", "or"):
            joined = term.lower()
            continue
        match = _TERM.fullmatch(term)
        if match is None or (joined == "or" and match[1].lower() != label):
            raise invalid(
                f"$filter: {term[:100]!r} is not read here; write LABEL eq 'VALUE', joined by 'and', values of one"
                " label by 'or'.",
                "$filter",
            )
        label = match[1].lower()
        value = match[2].replace("''", "'")
        found[label] = (*found.get(label, ()), value) if joined == "or" else (value,)
    return found


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
    return {
        "id": f"{id_}/providers/{INSIGHTS}/metricdefinitions/{name}",
        "resourceId": str(id_),
        "namespace": "/".join(id_.type),
        "name": {"value": name, "localizedValue": name},
        "displayDescription": metric.title,
        "unit": metric.unit,
        "primaryAggregationType": "Total" if metric.total else "Average",
        "supportedAggregationTypes": list(_AGGREGATIONS.values()),
        "metricAvailabilities": [
            {"timeGrain": "PT1M", "retention": f"P{KEPT_S[MINUTE] / 86_400:.0f}D"},
            {"timeGrain": "PT1H", "retention": f"P{KEPT_S[HOUR] / 86_400:.0f}D"},
        ],
        "dimensions": [{"value": label, "localizedValue": label} for label in metric.labels],
    }


METRICS = Kind(path="metrics", title="metric", provider=INSIGHTS, scopes=EXTENDS, verbs={"LIST": _list})
DEFINITIONS = Kind(
    path="metricDefinitions", title="metric definition", provider=INSIGHTS, scopes=EXTENDS, verbs={"LIST": _definitions}
)
KINDS = [METRICS, DEFINITIONS]
