"""Envoy's admin interface over its unix socket: what is in force, as Envoy itself says."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote

from smalt.gateway.listener import ROUTES, STAT_PREFIX

TIMEOUT_S = 2.0
CLUSTERS_VERSION = "cluster_manager.cds.version_text"
ROUTES_VERSION = f"http.{STAT_PREFIX}.rds.{ROUTES}.version_text"
MOST_NAMED = 50  # clusters in one question; more are picked from the whole answer


class NotAnswering(Exception):
    """Envoy is not running, or not yet."""


@dataclass(frozen=True)
class InForce:
    """`clusters` and `routes` are the versions of the files that Envoy took over last."""

    clusters: str
    routes: str


class Admin:
    def __init__(self, path: Path) -> None:
        self._path = path

    def in_force(self) -> InForce:
        wanted = "|".join((CLUSTERS_VERSION, ROUTES_VERSION)).replace(".", "\\.")
        found = self.get(f"/stats?type=TextReadouts&filter={quote(wanted)}")  # the other types are a hundred a cluster
        lines = dict(line.split(": ", 1) for line in found.splitlines() if ": " in line)
        return InForce(*(lines.get(name, "").strip('"') for name in (CLUSTERS_VERSION, ROUTES_VERSION)))

    def warming(self) -> bool:
        """Whether clusters that were read last are not used yet, since their first health check is under way."""
        dump = json.loads(self.get("/config_dump?resource=dynamic_warming_clusters&mask=version_info"))
        return bool(dump.get("configs"))

    def listening(self) -> bool:
        """Whether the port is open and connections are taken."""
        found = self.get("/stats?filter=^listener_manager.(total_listeners_active|workers_started)$")
        return found.count(": 1") == 2

    def refusals(self) -> list[str]:
        """Why Envoy did not take what it read last: a port in use, say. Empty where all is in force."""
        found: list[str] = []
        for what in ("dynamic_listeners", "dynamic_active_clusters", "dynamic_warming_clusters"):
            dump = json.loads(self.get(f"/config_dump?resource={what}&mask=error_state.details"))
            states = [one.get("error_state") for one in dump.get("configs", [])]
            found += [state["details"] for state in states if state]
        return found

    def unhealthy(self, clusters: Collection[str]) -> set[str]:
        """Those of `clusters` that have hosts, but none that passed its health check, and those that are not there."""
        named = "|".join(re.escape(one) for one in clusters) if len(clusters) <= MOST_NAMED else ""
        found = json.loads(self.get("/clusters?format=json" + (f"&filter={quote(f'^({named})$')}" if named else "")))
        good = {
            one["name"]
            for one in found.get("cluster_statuses", [])
            if not one.get("host_statuses")
            or any(not host["health_status"].get("failed_active_health_check") for host in one["host_statuses"])
        }
        return set(clusters) - good

    def process(self) -> str:
        """Which process answers: its number and the time at which it started, as the kernel counts it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(TIMEOUT_S)
            try:
                asked.connect(str(self._path))
                pid, *_ = struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
            except (OSError, IndexError) as error:
                raise NotAnswering(str(error)) from error
        return f"{pid} {started}"

    def get(self, target: str) -> str:
        """The body of a 200. Raises NotAnswering for anything else."""
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException) as error:
            raise NotAnswering(str(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NotAnswering(f"{target}: {answer.status}")
        return text


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))
