"""What a request for numbers asks: which metrics, over what time, told apart by what, and which series of many.

https://learn.microsoft.com/rest/api/monitor/metrics/list (2018-01-01 and later)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

from smalt.arm.durations import seconds_of
from smalt.arm.errors import invalid
from smalt.arm.kind import Request
from smalt.metrics.names import EACH, INSTANCE, KNOWN, LATENCY, Metric
from smalt.store.series import HOUR, KEPT_S, MINUTE

DEPLOYMENT = "deployment"  # by which every metric of an endpoint is told apart
PERCENTILE = re.compile(rf"{LATENCY.name}_P({'|'.join(map(str, EACH))})", re.IGNORECASE)
AGGREGATIONS = ("Average", "Count", "Minimum", "Maximum", "Total")
_SPELLED = {one.lower(): one for one in AGGREGATIONS}
_ORDERS = {**_SPELLED, "sum": "Total", "avg": "Average", "min": "Minimum", "max": "Maximum"}
FULL = "FULL"  # one interval for all of the time
_EVERYWHERE = {DEPLOYMENT, INSTANCE.lower(), "instance"}  # what `labels_of` gives to every series that has it
_SPAN_S = 3600.0
_MOST_POINTS = 11_000
_TERM = re.compile(r"\(*\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*\)*", re.IGNORECASE)
_JOINED = re.compile(r"\s+(and|or)\s+(?=\(*\s*\w+\s+\w+\s+')", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """`labels`: label → its values, or '*': a series for each value of it, where there may be several.

    `most`: no more of these than so many, by `order`: an aggregation over all of the time, and whether the greatest is
    first.
    """

    names: Sequence[str]
    since: int
    until: int
    interval_s: int
    interval: str
    aggregations: Sequence[str]
    labels: Mapping[str, tuple[str, ...]]
    now: float
    most: int | None = None
    order: tuple[str, bool] | None = None

    @property
    def by_minute(self) -> bool:
        """Whether minutes are read: longer intervals are of hours. But what minutes had, of something that is counted,
        only they can say, as long as they are kept."""
        if self.interval_s % HOUR or self.since % HOUR:
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


def asked(request: Request, defined: Sequence[tuple[Metric, str]]) -> Asked:
    """`defined`: the metrics that the resource has, with their names. Raises ArmError(400)."""
    known = [name for _, name in defined]
    query = {name.lower(): value for name, value in request.query.items()}
    given = _words(query.get("metricnames", "")) or known[:1]
    spelled = {name.lower(): name for name in known}
    if unknown := [one for one in given if one.lower() not in spelled]:
        message = f"metricnames: there is no metric '{unknown[0][:100]}' here; there are: {', '.join(known) or 'none'}."
        raise invalid(message, "metricnames")
    names = [spelled[one.lower()] for one in given]
    since, until = _span(query.get("timespan", ""), request.now)
    interval = query.get("interval") or "PT1M"
    since, interval_s = _intervals(interval, since, until, request.now)
    aggregations = [_spelled(one, "aggregation") for one in _words(query.get("aggregation", ""))]
    first = KNOWN.get(names[0]) if names else None
    default = ["Total"] if first is not None and first.total else ["Average"]
    labels = _labels(query.get("$filter", ""))
    if query.get("validatedimensions", "").lower() != "false":
        _check_labels(labels, [one for one, name in defined if name in names])
    most, order = _most(query.get("top", "")), _order(query.get("orderby", ""))
    shown = aggregations or default
    return Asked(names, since, until, interval_s, interval, shown, labels, request.now, most, order)


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


def _check_labels(labels: Iterable[str], metrics: Iterable[Metric]) -> None:
    """Raises ArmError(400) where a metric is never told apart so: nothing would be found of it, and nobody know why."""
    for metric in metrics:
        own = {*(one.lower() for one in metric.labels), *_EVERYWHERE}
        unknown = [one for one in labels if one not in own]
        if metric.name in KNOWN and unknown:
            there = ", ".join((DEPLOYMENT, *metric.labels))
            raise invalid(
                f"$filter: '{unknown[0][:100]}' is no dimension of {metric.name}, which has: {there}.", "$filter"
            )


def _intervals(interval: str, since: int, until: int, now: float) -> tuple[int, int]:
    """When the first begins, and how long each is."""
    if interval.upper() == FULL:
        unit = MINUTE if since >= now - KEPT_S[MINUTE] else HOUR
        since -= since % unit
        return since, math.ceil((until - since) / unit) * unit
    length = int(seconds_of(interval, MINUTE, "interval"))
    if length < MINUTE or length % MINUTE:
        raise invalid(
            f"interval: '{interval[:100]}' is not a number of whole minutes; write PT1M, PT5M, PT1H, P1D or FULL.",
            "interval",
        )
    since -= since % length
    if (until - since) / length > _MOST_POINTS:
        raise invalid(f"timespan: it has more than {_MOST_POINTS} intervals of {interval}.", "timespan")
    return since, length


def _most(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise invalid(f"top: '{text[:100]}' is not a whole number above 0.", "top")
    return int(text[:9])


def _order(text: str) -> tuple[str, bool] | None:
    """`AGGREGATION asc` or `desc`; without either the least is first."""
    if not text:
        return None
    name, _, direction = text.strip().partition(" ")
    if (direction := direction.strip().lower() or "asc") not in ("asc", "desc"):
        raise invalid(f"orderby: '{text[:100]}' is not read here; write 'Total desc' or 'Average asc'.", "orderby")
    return _spelled(name, "orderby"), direction == "desc"


def _spelled(name: str, target: str) -> str:
    known = _SPELLED if target == "aggregation" else _ORDERS
    if name.lower() not in known:
        raise invalid(f"{target}: '{name[:100]}' is none of {', '.join(AGGREGATIONS)}.", target)
    return known[name.lower()]


def _words(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
