"""How many requests each deployment answered, and how long they took: Envoy's own counters, since it started.

A cluster that changes is made anew, and what the one before had counted goes with it. So each make counts under a name
of its own (`clusters.py`), and is looked at until another has taken its place (`envoy_gateway.py`).

The times are there up to five seconds later than the codes: Envoy adds up its threads' histograms so often.
"""

from __future__ import annotations

import re
from collections import defaultdict
from urllib.parse import quote

from smalt.arm.ports import Counted, Traffic
from smalt.metrics.counters import disjoint

ALL = ".*/.*"
IN_FLIGHT = "/stats?usedonly&filter=" + quote(r"^cluster\.[^/]+/[^/]+/\d+\.upstream_rq_(pending_)?active$")
_ACTIVE = re.compile(r"^cluster\.([^/]+)/([^/]+)/\d+\.upstream_rq_(?:pending_)?active: (\d+)$", re.MULTILINE)
_LINE = re.compile(
    r"envoy_cluster_upstream_(rq|rq_time_bucket|rq_time_sum|rq_body_size_sum|rs_body_size_sum|cx_active|cx_total"
    r"|rq_timeout|rq_active_overflow|rq_pending_overflow|rq_pending_failure_eject|rq_retry|rq_retry_limit_exceeded"
    r"|cx_destroy_remote_with_active_rq)"
    r"\{([^}]*)\} ([\d.e+]+)"
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def question(names: str = ALL) -> str:
    """What to ask Envoy's admin socket; `names`: an expression for those under which clusters count."""
    counts = r"[2-5]\d\d|timeout|(active|pending)_overflow|pending_failure_eject|retry|retry_limit_exceeded"
    what = rf"(rq_({counts}|time|body_size)|rs_body_size|cx_(active|total|destroy_remote_with_active_rq))"
    return "/stats/prometheus?usedonly&filter=" + quote(rf"^cluster\.({names})\.upstream_{what}$")


def traffic(text: str) -> Counted:
    """What Envoy says."""
    found: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for what, labels, value in _LINE.findall(text):
        named = dict(_LABEL.findall(labels))
        endpoint, deployment, make = (*named.get("envoy_cluster_name", "").split("/"), "", "")[:3]
        key = what
        if what == "rq":
            key = f"code {named.get('envoy_response_code', '')}"
        elif what == "rq_time_bucket":
            key = f"le {named.get('le')}"
        found[endpoint, deployment, make][key] = float(value)
    result: defaultdict[tuple[str, str], dict[str, Traffic]] = defaultdict(dict)
    for (endpoint, deployment, make), values in found.items():
        if deployment:
            result[endpoint, deployment][make] = _read(values)
    return dict(result)


def in_flight(text: str) -> dict[tuple[str, str], int]:
    """By (endpoint, deployment), from Envoy's answer to `IN_FLIGHT`: with a replica, and waiting for one."""
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for endpoint, deployment, number in _ACTIVE.findall(text):
        found[endpoint, deployment] += int(number)
    return dict(found)


def _read(values: dict[str, float]) -> Traffic:
    codes = {key.removeprefix("code "): int(value) for key, value in values.items() if key.startswith("code ")}
    size = values.get("rq_body_size_sum", 0.0) + values.get("rs_body_size_sum", 0.0)
    below = [(_bound(key), value) for key, value in values.items() if key.startswith("le ")]
    return Traffic(
        codes,
        sum_ms=values.get("rq_time_sum", 0.0),
        buckets=disjoint(below),
        sum_bytes=size,
        connections=values.get("cx_active", 0.0),
        connected=values.get("cx_total", 0.0),
        overflows=values.get("rq_active_overflow", 0.0) + values.get("rq_pending_overflow", 0.0),
        timeouts=values.get("rq_timeout", 0.0),
        broken=values.get("rq_pending_failure_eject", 0.0) + values.get("cx_destroy_remote_with_active_rq", 0.0),
        repeated=values.get("rq_retry", 0.0) + values.get("rq_retry_limit_exceeded", 0.0),
    )


def _bound(key: str) -> float:
    """Envoy writes them with all their digits."""
    return float(f"{float(key.removeprefix('le ')):.4g}")
