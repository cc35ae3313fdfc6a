"""Ray jobs: each node's `ray start`. The command runs on the first node, as a driver, once all have joined.

Nodes on one machine have addresses of loopback (Ray takes 127.0.0.1 for the machine's outer one), those on machines of
their own what these have said. Each has its own block of ports; workers and the object manager listen where the kernel
lets them. So Ray clusters run beside each other. Each has a token, which versions from 2.52 on ask of all who connect:
Ray listens on all the machine's addresses.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from smalt.arm.errors import invalid
from smalt.sched.ports import is_loopback

_FIELD = "properties.distribution"
_ARGUMENTS = ("headNodeAdditionalArgs", "workerNodeAdditionalArgs")
_CHOSEN = re.compile(r"--(address|node-ip-address|([a-z]+-)*ports?|worker-port-list)\b(?!-)")  # by the platform
_TAKEN_FROM_VARIABLES = ("", "auto")


def check(given: Mapping[str, Any]) -> None:
    """Raises ArmError(400) for what no cluster can be started with here."""
    if str(given.get("address") or "") not in _TAKEN_FROM_VARIABLES:
        field = f"{_FIELD}.address"
        raise invalid(f"{field}: the head is the job's first node, and its variable RAY_ADDRESS; leave it out.", field)
    for name in _ARGUMENTS:
        _check_arguments(f"{_FIELD}.{name}", str(given.get(name) or ""), worker=name == _ARGUMENTS[1])


def _check_arguments(field: str, arguments: str, worker: bool) -> None:
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise invalid(f"{field}: {error}.", field) from None
    if not_taken := next((one for one in ("${{", "$[[", "\0") if one in arguments), ""):
        raise invalid(f"{field}: nothing is put into them, so {not_taken!r} cannot stand there.", field)
    for word in words:
        if chosen := _CHOSEN.match(word):
            raise invalid(
                f"{field}: {chosen[0]} cannot be given: addresses and ports are those of the job's nodes on this"
                " machine, which other jobs share. RAY_ADDRESS says where the cluster is; leave it out.",
                field,
            )
        if worker and word == "--head":
            raise invalid(f"{field}: --head is for the first node; leave it out.", field)


def ips(count: int, addresses: Sequence[str]) -> list[str]:
    """Each node's. `addresses`: those of their machines; none: all are this one."""
    said = addresses or [""] * count
    return [one if one and not is_loopback(one) else _loopback(node) for node, one in enumerate(said)]


def _loopback(node: int) -> str:
    return f"127.0.{(node + 2) >> 8}.{(node + 2) & 255}"


def variables(meet: str, token: str) -> dict[str, str]:
    """Of all processes: `ray.init()` finds the cluster by them, and is let in. `meet`: where."""
    return {"RAY_ADDRESS": meet, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def start(given: Mapping[str, Any], meet: str, ip: str, port: int, node: int, cpus: int, gpus: int | None) -> list[str]:
    """What the node runs. `port`: the first of its block. `cpus` 0, `gpus` None: as many as Ray finds.

    What the user adds comes last, and wins.
    """
    has = {"num-cpus": cpus or None, "num-gpus": gpus}
    room = [f"--{name}={count}" for name, count in has.items() if count is not None]
    if node:
        place, more = [f"--address={meet}"], given.get(_ARGUMENTS[1])
    else:
        place, more = _head(bool(given.get("includeDashboard")), port), given.get(_ARGUMENTS[0])
    return ["ray", "start", *place, *_node(ip, port), *room, *shlex.split(str(more or ""))]


def _head(dashboard: bool, first: int) -> list[str]:
    return [
        "--head",
        f"--port={first}",
        f"--include-dashboard={dashboard}",
        f"--dashboard-port={first + 1}",
        f"--ray-client-server-port={first + 2}",
    ]


def _node(ip: str, first: int) -> list[str]:
    """The rest of its block."""
    return [
        f"--node-ip-address={ip}",
        f"--node-manager-port={first + 3}",
        f"--dashboard-agent-grpc-port={first + 4}",
        f"--runtime-env-agent-port={first + 5}",
        f"--dashboard-agent-listen-port={first + 6}",
        f"--metrics-export-port={first + 7}",
        "--object-manager-port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--disable-usage-stats",
    ]
