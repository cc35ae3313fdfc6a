"""Ray: what is installed beside Smalt, and whether that is what the platform's Ray cluster has."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from smalt.arm.errors import ArmError
from smalt.doctor.finding import Finding, none, ok, warn
from smalt.doctor.machine import ANSWER_S, Machine
from smalt.settings import LOCAL_RAY

_OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
_WAITS = "jobs of clusters on it wait"


@dataclass(frozen=True)
class _Cluster:
    url: str
    ray: str
    python: str  # as 3.11; empty where it does not say


def ray(machine: Machine) -> Finding:
    """Ray's clients need its very version and Python; Smalt itself asks it over HTTP, and needs neither."""
    here = _installed()
    if not machine.settings.ray:
        return ok(here) if here else none("not installed", "jobs run as processes of this machine, without it", _pip())
    try:
        found = _asked(machine)
    except ArmError as error:
        return warn(error.message.rstrip("."), _WAITS, _remedy(machine, error.code))
    return _compared(found, here)


def _compared(found: _Cluster, here: str) -> Finding:
    there = f"{found.ray} with Python {found.python or '?'} at {found.url}"
    fact = f"{there}; here {here} with Python {_OURS}" if here else f"{there}; not installed here, with Python {_OURS}"
    if found.python not in ("", _OURS):
        means = f"a node there builds an environment of Python {_OURS} only where its machine has that Python, too"
        if here:
            means += ", and scripts here cannot be Ray's clients (ray.init)"
        return warn(fact, means, f"uv python install {_OURS}   # on each of Ray's machines")
    if here and here != found.ray:
        return warn(fact, "scripts here cannot be Ray's clients (ray.init); Smalt itself can", _pip(found.ray))
    return ok(fact)


def _asked(machine: Machine) -> _Cluster:
    """Raises ArmError."""
    from smalt.engines.ray.dashboard import Dashboard  # httpx is nothing that a machine without Ray needs
    from smalt.engines.ray.provider import local_head, token_of

    settings = machine.settings
    local = settings.ray == LOCAL_RAY
    url, token = local_head(settings) if local else (settings.ray, token_of(settings))
    with Dashboard(url, token, call_s=ANSWER_S) as dashboard:
        return _Cluster(url, dashboard.check(), ".".join(dashboard.python().split(".")[:2]))


def _remedy(machine: Machine, code: str) -> str:
    if machine.settings.ray == LOCAL_RAY:
        return machine.smalt("up --detach")
    if code == "RayUnauthorized":
        return machine.smalt("up --ray-token-file FILE")
    if code == "RayUnsupported":
        return "pip install -U 'smalt[ray]'   # on each of Ray's machines"
    return machine.smalt("up --ray http://HOST:8265")


def _installed() -> str:
    try:
        return version("ray")
    except PackageNotFoundError:
        return ""


def _pip(exact: str = "") -> str:
    return f"uv pip install --python {sys.executable} ray{f'=={exact}' if exact else ''}"
