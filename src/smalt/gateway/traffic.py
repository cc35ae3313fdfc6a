"""How many requests each deployment answered, and how long they took: Envoy's own counters, since it started.

The times are there up to five seconds later than the codes: Envoy adds up its threads' histograms so often.
"""

from __future__ import annotations

import re
from collections import defaultdict

from smalt.arm.ports import Traffic
from smalt.metrics.counters import disjoint

_FILTER = r"^cluster\..*/.*\.upstream_rq_([1-5]xx|time)$"
PATH = f"/stats/prometheus?usedonly&filter={_FILTER}"
_LINE = re.compile(r"envoy_cluster_upstream_rq_(xx|time_bucket|time_sum|time_count)\{([^}]*)\} ([\d.e+]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def traffic(text: str) -> dict[tuple[str, str], Traffic]:
    """What Envoy says, by (endpoint, deployment)."""
    found: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for what, labels, value in _LINE.findall(text):
        named = dict(_LABEL.findall(labels))
        endpoint, _, deployment = named.get("envoy_cluster_name", "").partition("/")
        key = what
        if what == "xx":
            key = f"{named.get('envoy_response_code_class')}xx"
        elif what == "time_bucket":
            key = f"le {named.get('le')}"
        found[endpoint, deployment][key] = float(value)
    return {where: _read(values) for where, values in found.items() if where[1]}


def _read(values: dict[str, float]) -> Traffic:
    codes = {key: int(value) for key, value in values.items() if key.endswith("xx")}
    below = [(_bound(key), value) for key, value in values.items() if key.startswith("le ")]
    return Traffic(codes, values.get("time_sum", 0.0), disjoint(below))


def _bound(key: str) -> float:
    """Envoy writes them with all their digits."""
    return float(f"{float(key.removeprefix('le ')):.4g}")
