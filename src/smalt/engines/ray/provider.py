"""`NodeProvider` on Ray. See `bridge.py` for what a node is there."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from smalt.arm.errors import ArmError
from smalt.arm.ports import Applied, NodePlace, ProvidedNode, WantedNode
from smalt.engines.ray.dashboard import Dashboard, Job
from smalt.settings import LOCAL_RAY, Settings

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
                told = json.dumps(self._told(place, wanted)).encode()
                packed = base64.b64encode(zlib.compress(told)).decode()  # Linux takes 128 KiB in one piece
                ray.submit(id_, _COMMAND, {"SMALT_BRIDGE": _bridge(), "SMALT_WANTED": packed})
                return Applied(done=False)
            if not job.ended:
                return Applied(done=False)
            error = "" if job.status == "SUCCEEDED" else f"Ray job {id_} {job.status}: {_last_words(ray, id_, job)}"
            ray.delete(id_)  # it shows the nodes' tokens
            return Applied(done=True, error=error)

    def observe(self, place: NodePlace) -> Mapping[str, ProvidedNode]:
        with Dashboard(place.url, place.token, self._transport) as ray:
            found = {str(one["name"]): one for one in ray.actors(place.namespace)}
            if all(one["state"] == "ALIVE" for one in found.values()):
                return {name: ProvidedNode("running") for name in found}
            placed = {str(one["name"]) for one in ray.groups("CREATED")}
            lacking = _lack(ray, place.namespace)
        return {name: _node(one, f"{place.namespace}/{name}" in placed, lacking) for name, one in found.items()}

    def _told(self, place: NodePlace, wanted: Sequence[WantedNode]) -> dict[str, Any]:
        nodes = [{"name": one.name, "cpus": one.cpus, "gpus": one.gpus, "token": one.token} for one in wanted]
        return {
            "namespace": place.namespace,
            "version": version("smalt"),
            "folder": place.folder,
            "isolation": place.isolation,
            "server": self._settings.url,
            "ca": (self._settings.tls / "ca.pem").read_text(),
            "nodes": nodes,
        }


def local_head(settings: Settings) -> tuple[str, str]:
    """Address and token of the head that this platform keeps (`cli/ray_head.py`). Raises ArmError where it has none."""
    if settings.ray != LOCAL_RAY:
        why = "Ray's head on this machine is not kept any more: smalt up --ray local starts it."
        raise ArmError(502, "RayUnreachable", why)
    try:
        found = json.loads(settings.ray_head_file.read_text())
        return str(found["url"]), str(found["token"])
    except (OSError, ValueError, KeyError) as error:
        why = f"Ray's head on this machine has not begun yet; see {settings.logs / 'ray.log'}."
        raise ArmError(502, "RayUnreachable", why) from error


def token_of(settings: Settings) -> str:
    """What the dashboard of the platform's own Ray cluster is shown; empty: nothing. Raises ArmError."""
    if not settings.ray_token_file:
        return ""
    try:
        return Path(settings.ray_token_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = f"Ray's token in {settings.ray_token_file} cannot be read: {error}."
        raise ArmError(502, "RayUnauthorized", why) from error


@cache
def _bridge() -> str:
    return Path(__file__).with_name("bridge.py").read_text()


def _last_words(ray: Dashboard, id_: str, job: Job) -> str:
    """Of a job that failed. Its log may be gone with the machine that had it."""
    lines: list[str] = []
    with suppress(ArmError):
        lines = ray.log(id_).strip().splitlines()
    return (lines or [job.message])[-1][:500]


def _node(actor: Mapping[str, Any], placed: bool, lacking: str) -> ProvidedNode:
    """`placed`: it has its room, on a machine that lives."""
    state = str(actor["state"])
    if state == "ALIVE":
        return ProvidedNode("running")
    if state == "DEAD":
        return ProvidedNode("dead", _cause(actor.get("death_cause") or {}))
    return ProvidedNode("starting") if placed else ProvidedNode("waiting", lacking)


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
    ours = [one for one in ray.groups("PENDING") if str(one["name"]).startswith(f"{namespace}/")]
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
