"""`NodeProvider` on Ray. See `bridge.py` for what a node is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from smalt.arm.ports import Applied, NodePlace, ProvidedNode, WantedNode
from smalt.engines.ray.dashboard import Dashboard
from smalt.settings import Settings

_COMMAND = "python -u -c 'import os; exec(os.environ[\"SMALT_BRIDGE\"])'"


class RayProvider:
    """See `arm.ports.NodeProvider`. Holds nothing: Ray has the jobs, actors and placement groups."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self._settings, self._transport = settings, transport

    def apply(self, place: NodePlace, id_: str, wanted: Sequence[WantedNode]) -> Applied:
        with Dashboard(place.url, place.token, self._transport) as ray:
            job = ray.job(id_)
            if job is None:
                ray.check()
                told = json.dumps(self._told(place, wanted))
                ray.submit(id_, _COMMAND, {"SMALT_BRIDGE": _bridge(), "SMALT_WANTED": told})
                return Applied(done=False)
            if not job.ended:
                return Applied(done=False)
            if job.status == "SUCCEEDED":
                ray.delete(id_)  # it shows the nodes' tokens
                return Applied(done=True)
            lines = ray.log(id_).strip().splitlines()
            return Applied(done=True, error=f"Ray job {id_} {job.status}: {(lines or [job.message])[-1][:500]}")

    def observe(self, place: NodePlace) -> Mapping[str, ProvidedNode]:
        with Dashboard(place.url, place.token, self._transport) as ray:
            found = {str(one["name"]): one for one in ray.actors(place.namespace)}
            lacking = "" if all(one["state"] == "ALIVE" for one in found.values()) else _lack(ray, place.namespace)
        return {name: _node(one, lacking) for name, one in found.items()}

    def _told(self, place: NodePlace, wanted: Sequence[WantedNode]) -> dict[str, Any]:
        ca = (self._settings.tls / "ca.pem").read_text()
        nodes = [
            {
                "name": one.name, "cpus": one.cpus, "gpus": one.gpus,
                "credential": {"server": self._settings.url, "name": one.name, "token": one.token, "ca": ca},
            }
            for one in wanted
        ]  # fmt: skip
        return {
            "namespace": place.namespace, "version": version("smalt"), "folder": place.folder,
            "isolation": place.isolation, "nodes": nodes,
        }  # fmt: skip


@cache
def _bridge() -> str:
    return Path(__file__).with_name("bridge.py").read_text()


def _node(actor: Mapping[str, Any], lacking: str) -> ProvidedNode:
    state = str(actor["state"])
    if state == "ALIVE":
        return ProvidedNode("running")
    if state == "DEAD":
        return ProvidedNode("dead", _cause(actor.get("death_cause") or {}))
    return ProvidedNode("waiting", lacking)


def _cause(death: Mapping[str, Any]) -> str:
    """The last line of what Ray says, wherever it says it."""
    for name, one in death.items():
        if isinstance(one, Mapping):
            text = str(one.get("error_message") or one.get("formatted_exception_string") or "")
            lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
            if lines:
                return lines[-1].removeprefix("RuntimeError: ")[:1000]
            return name
    return "Ray does not say why."


def _lack(ray: Dashboard, namespace: str) -> str:
    """What waits for room, and how much there is."""
    ours = [one for one in ray.groups() if str(one["name"]).startswith(f"{namespace}/")]
    if not ours:
        return ""
    asks = ours[0].get("bundles") or [{}]
    wanted = asks[0].get("unit_resources") or asks[0].get("resources") or asks[0]
    most: dict[str, float] = {}
    for node in ray.nodes():
        for name, amount in (node.get("resources_total") or {}).items():
            most[name] = max(most.get(name, 0.0), float(amount))
    asked = ", ".join(f"{float(amount):g} {name}" for name, amount in sorted(wanted.items()) if name in ("CPU", "GPU"))
    largest = ", ".join(f"{most.get(name, 0):g} {name}" for name in sorted(wanted) if name in ("CPU", "GPU"))
    return f"Ray has no room now for a node of {asked}; its largest machine has {largest}."
