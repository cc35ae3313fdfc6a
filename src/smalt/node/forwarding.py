"""What Envoy is told on a node: one listener, a chain for each replica by its name, a cluster for its socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smalt.auth.certificates import GATEWAY
from smalt.gateway.clusters import CONNECT_TIMEOUT_S, PLENTY, TLS_1_3
from smalt.gateway.documents import CONFIG, EXTENSION, Document, watched_file
from smalt.gateway.listener import BACKLOG, HANDSHAKE_S, certificate

_SECRET = "node"
IDLE_S = 3600  # of a connection on which nothing comes: requests may take long


def bootstrap(socket: Path, listeners: Path, clusters: Path) -> Document:
    return {
        "node": {"id": "smalt-node", "cluster": "smalt"},
        "admin": {"address": {"pipe": {"path": str(socket), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": watched_file(listeners), "cds_config": watched_file(clusters)},
    }


def secret(folder: Path) -> list[Document]:
    """`node.pem` and its key there."""
    return [certificate(_SECRET, folder, _SECRET)]


def clusters(replicas: Mapping[str, str]) -> list[Document]:
    """By name, where each listens."""
    return [
        {
            "@type": f"{CONFIG}cluster.v3.Cluster",
            "name": name,
            "type": "STATIC",
            "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
            },
            "circuit_breakers": {"thresholds": [{"max_connections": PLENTY, "max_pending_requests": PLENTY}]},
        }
        for name, path in sorted(replicas.items())
    ]


def listener(replicas: Mapping[str, str], host: str, port: int, secrets: Path, authority: Path) -> Document:
    """Chains that come and go drain no others."""
    inspector = {"@type": f"{EXTENSION}filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "@type": f"{CONFIG}listener.v3.Listener",
        "name": "replicas",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "tcp_backlog_size": BACKLOG,
        "enable_reuse_port": False,  # with it, two nodes of a machine would take each other's connections
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}],
        "filter_chains": [_chain(name, secrets, authority) for name in sorted(replicas)],
    }


def _chain(name: str, secrets: Path, authority: Path) -> Document:
    proxy = {"@type": f"{EXTENSION}filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "replicas"}
    proxy |= {"cluster": name, "idle_timeout": f"{IDLE_S}s"}
    return {
        "name": name,
        "filter_chain_match": {"server_names": [name]},
        "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
        "transport_socket": _mutual(secrets, authority),
        "transport_socket_connect_timeout": f"{HANDSHAKE_S}s",
    }


def _mutual(secrets: Path, authority: Path) -> Document:
    common = {
        "tls_params": TLS_1_3,
        "tls_certificate_sds_secret_configs": [{"name": _SECRET, "sds_config": watched_file(secrets)}],
        "validation_context": {
            "trusted_ca": {"filename": str(authority)},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": GATEWAY}}],
        },
    }
    context = {"@type": f"{EXTENSION}transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {**context, "require_client_certificate": True},
    }
