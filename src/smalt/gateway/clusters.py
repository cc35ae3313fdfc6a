"""Clusters: the server, services of jobs, and one for each deployment, whose hosts are where its replicas listen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from smalt.agent.wire import Address
from smalt.arm.ports import DeploymentRoute
from smalt.gateway.documents import CONFIG, EXTENSION, KEEP_CASE, Document, watched_file

SERVER, SERVICES, TRACES = "server", "services", "traces"
COUNTS = "alt_stat_name"
QUEUE = 100  # requests of a deployment that may wait beyond those in progress; a small number refuses cold bursts
LARGE_TIMES = 4  # so many more with large bodies, for each instance: it refuses twice its own, once it has read them
PLENTY = 100_000
UPSTREAM_IDLE_S = 4  # below uvicorn's keep-alive of 5 s: we close first, and no request meets a closing connection
BUFFER_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 2
FAILURES = 5  # answers in a row
SCRIPT_FAILED = "x-ms-run-function-failed"  # as inject/outcome.py has it
TLS_1_3: Document = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
HEALTH_PATH, HEALTH_HOST = "/", "replica"
HEALTH_TIMEOUT_S = 0.5  # Envoy opens its port only after each replica's first check: a hung one must not hold that up


@dataclass(frozen=True)
class Trust:
    """How the gateway and the forwarders of nodes know each other: the file of secrets that has the gateway's
    certificate, its name there, and the authority."""

    secrets: Path
    secret: str
    authority: Path


def cluster_name(endpoint: str, deployment: str) -> str:
    return f"{endpoint}/{deployment}"


def server_cluster(socket: Path) -> Document:
    """The platform's server. Its failures are the retry policy's matter (`routes.py`): no health checks, no limits."""
    return _cluster(SERVER, [Address(f"unix:{socket}")], KEEP_CASE) | {
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": _breakers(PLENTY, PLENTY),
    }


def services_cluster(socket: Path) -> Document:
    """The way to the services of jobs: a connection there is one request, and then whatever it was upgraded to."""
    return _cluster(SERVICES, [Address(f"unix:{socket}")], KEEP_CASE, requests=1) | {
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": _breakers(PLENTY, PLENTY),
    }


def traces_cluster(otlp: str) -> Document:
    """Where traces are sent (`Settings.otlp`)."""
    parts = urlsplit(otlp)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = {"socket_address": {"address": parts.hostname, "port_value": port}}
    found = _cluster(TRACES, [])
    found |= {
        "type": "STRICT_DNS",
        "load_assignment": {
            "cluster_name": TRACES,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if parts.scheme == "https":
        tls = {"@type": f"{EXTENSION}transport_sockets.tls.v3.UpstreamTlsContext", "sni": parts.hostname}
        tls["common_tls_context"] = {"validation_context": {"trusted_ca": {"filename": certifi.where()}}}
        found["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return found


def deployment_cluster(endpoint: str, route: DeploymentRoute, trust: Trust) -> Document:
    """One deployment's replicas, with its limit on concurrent requests.

    Outlier detection sets a replica aside for a few seconds after some refused connections (all retried elsewhere), or
    after `FAILURES` answers in a row that say it does not work: 5xx, or 424 where the script failed. One good answer in
    between, or a refusal of the request (4xx), and it stays; so a script that fails on some inputs keeps all its
    replicas. At most half of them are set aside at once, and never the only one, so one that fails on everything is
    still answered by the rest. A replica that is only busy stays: health checks may fail for longer than a request may
    take before they count.
    """
    each, instances = max(1, route.max_concurrent), max(1, len(route.addresses))
    in_progress, large = each * instances, LARGE_TIMES * (each + QUEUE) * instances
    cluster = _cluster(cluster_name(endpoint, route.name), route.addresses, judged=_failed_answers())
    if any(one.name for one in route.addresses):
        cluster["transport_socket_matches"] = _ways(route.addresses, trust)
    return cluster | {
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": _breakers(in_progress + QUEUE, max(QUEUE, in_progress), large),
        "health_checks": [_health_check(route.timeout_s)],
        "outlier_detection": _outliers(),
        # with all replicas failing, try them all the same: a new cluster works before its first check is through
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "ignore_health_on_host_removal": True,
        "track_cluster_stats": {"request_response_sizes": True},
    }


def counted(cluster: Document, before: Document | None, number: int) -> Document:
    """`cluster` with the name under which it counts.

    Envoy makes a cluster anew where it differs from the one before, with counters of its own: those bear a `number`, so
    that nobody takes them for the others (`traffic.py`).
    """
    if before is not None and before == {**cluster, COUNTS: before.get(COUNTS)}:
        return before
    return {**cluster, COUNTS: f"{cluster['name']}/{number}"}


def counting(clusters: Iterable[Document]) -> set[str]:
    """The names under which these count."""
    return {one[COUNTS] for one in clusters if COUNTS in one}


def _cluster(
    name: str,
    addresses: Sequence[Address],
    protocol: Document | None = None,
    requests: int = 0,
    judged: Document | None = None,
) -> Document:
    """`requests`: the most that one connection is for; 0: any number. `judged`: which answers count against a host."""
    hosts = [_lb_endpoint(one) for one in addresses]
    http = {
        "@type": f"{EXTENSION}upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"}
        | ({"max_requests_per_connection": requests} if requests else {}),
        "explicit_http_config": {"http_protocol_options": protocol or {}},
        **({"outlier_detection": {"error_matcher": judged}} if judged else {}),
    }
    return {
        "@type": f"{CONFIG}cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
    }


def _lb_endpoint(address: Address) -> Document:
    found: Document = {"endpoint": {"address": _host(address)}}
    if address.name:
        found["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": {"name": address.name}}}
    return found


def _ways(addresses: Sequence[Address], trust: Trust) -> list[Document]:
    """To each replica on a node by its own name, which the node's certificate has to be for; to others in the clear."""
    found = [
        {"name": one.name, "match": {"name": one.name}, "transport_socket": _mutual(one.name, trust)}
        for one in addresses
        if one.name
    ]
    plain = {"@type": f"{EXTENSION}transport_sockets.raw_buffer.v3.RawBuffer"}
    clear = {"name": "envoy.transport_sockets.raw_buffer", "typed_config": plain}
    return [*found, {"name": "here", "match": {}, "transport_socket": clear}]


def _mutual(name: str, trust: Trust) -> Document:
    common = {
        "tls_params": TLS_1_3,
        "tls_certificate_sds_secret_configs": [{"name": trust.secret, "sds_config": watched_file(trust.secrets)}],
        "validation_context": {
            "trusted_ca": {"filename": str(trust.authority)},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
        },
    }
    context = {"@type": f"{EXTENSION}transport_sockets.tls.v3.UpstreamTlsContext", "sni": name}
    return {"name": "envoy.transport_sockets.tls", "typed_config": {**context, "common_tls_context": common}}


def _host(address: Address) -> Document:
    if address.path:
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _breakers(requests: int, pending: int, large: int = 0) -> Document:
    """`large`: of those whose bodies may be large, which are counted by themselves (`routes.py`)."""
    found = [_threshold("DEFAULT", requests, pending)]
    return {"thresholds": [*found, _threshold("HIGH", large, large)] if large else found}


def _threshold(priority: str, requests: int, pending: int) -> Document:
    return {
        "priority": priority,
        # a limit on connections starves one worker thread of Envoy through the other's idle ones
        "max_connections": PLENTY,
        "max_pending_requests": pending,
        "max_requests": requests,
        "max_retries": PLENTY,  # all that a dying replica had in hand is tried elsewhere
    }


def _health_check(request_timeout_s: float) -> Document:
    return {
        "timeout": f"{HEALTH_TIMEOUT_S:.3f}s",
        "interval": "1s",
        "unhealthy_interval": "0.500s",
        "no_traffic_interval": "1s",
        "no_traffic_healthy_interval": "5s",
        "unhealthy_threshold": math.ceil(request_timeout_s + 5),  # checks that time out come once a second
        "healthy_threshold": 1,
        "http_health_check": {"path": HEALTH_PATH, "host": HEALTH_HOST},
    }


def _failed_answers() -> Document:
    status = {"name": ":status", "string_match": {"prefix": "5"}}
    failed = {"name": SCRIPT_FAILED, "string_match": {"exact": "True"}}
    rules = [{"http_response_headers_match": {"headers": [one]}} for one in (status, failed)]
    return {"or_match": {"rules": rules}}


def _outliers() -> Document:
    return {
        "split_external_local_origin_errors": True,
        "consecutive_5xx": FAILURES,
        "enforcing_consecutive_5xx": 100,
        "successful_active_health_check_uneject_host": False,  # it answers the check, and fails all requests
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 50,  # never the only one
    }
