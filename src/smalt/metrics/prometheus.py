"""What was recorded since the start, in Prometheus' text form."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from smalt.metrics.names import KNOWN
from smalt.store.series import Key, Point

CONTENT_TYPE = CONTENT_TYPE_LATEST
Series = list[tuple[Key, Point]]


def text(totals: Iterable[tuple[Key, Point]]) -> bytes:
    """Counters (`_total`) of what happens, histograms of what has a spread, and the last value of everything else."""
    registry = CollectorRegistry()
    registry.register(_Recorded(totals))
    return generate_latest(registry)


class _Recorded(Collector):
    def __init__(self, totals: Iterable[tuple[Key, Point]]) -> None:
        self._named: defaultdict[str, Series] = defaultdict(list)
        for key, point in totals:
            self._named[key.name].append((key, point))

    def collect(self) -> Iterator[Metric]:
        for name, found in sorted(self._named.items()):
            yield _family(name, found)


def _family(name: str, found: Series) -> Metric:
    known, plain = KNOWN.get(name), _plain(name)
    title = known.title if known else name
    labels = sorted({label for key, _ in found for label, _ in _labels(key)})
    values = [[dict(_labels(key)).get(label, "") for label in labels] for key, _ in found]
    if any(point.buckets for _, point in found):
        spread = HistogramMetricFamily(plain, title, labels=labels)
        for (_, point), value in zip(found, values, strict=True):
            spread.add_metric(value, _cumulative(point), point.sum)
        return spread
    if known and known.total:
        counter = CounterMetricFamily(plain, title, labels=labels)
        for (_, point), value in zip(found, values, strict=True):
            counter.add_metric(value, point.sum)
        return counter
    gauge = GaugeMetricFamily(plain, title, labels=labels)
    for (_, point), value in zip(found, values, strict=True):
        gauge.add_metric(value, point.last)
    return gauge


def _cumulative(point: Point) -> list[tuple[str, float]]:
    below, found = 0, list[tuple[str, float]]()
    for bound, count in sorted(point.buckets.items()):
        below += count
        found.append((f"{bound:g}", below))
    return [*found, ("+Inf", point.count)]


def _plain(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return "smalt_" + re.sub(r"[^a-z0-9_]", "_", words)


def _labels(key: Key) -> list[tuple[str, str]]:
    own = [(re.sub(r"[^a-zA-Z0-9_]", "_", name), value) for name, value in key.labels]
    return [("resource", key.scope), *own] if key.scope else own
