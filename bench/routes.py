"""How long a change of one endpoint among many takes until the gateway follows it.

    python bench/routes.py [--endpoints 200] [--deployments 2] [--rounds 10] [--json]

A platform's Envoy alone, before one upstream that answers at once and stands for all replicas. In turns: a flip of an endpoint's traffic
(routes alone), and a deployment whose replica listens elsewhere (clusters, and then routes). The time is from `change` until
`in_force`, with the looks at it as the platform makes them; the control loop and the database are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import ceiling
import serving

from smalt.agent.wire import Address
from smalt.arm.ports import DeploymentRoute, EndpointRoute
from smalt.gateway.envoy_gateway import EnvoyGateway

LOOK_S, LOOK_GROWS = 0.01, 1.25  # as in kinds/serving/routing.py


def measure(folder: Path, endpoints: int, deployments: int, rounds: int) -> dict[str, float]:
    """Medians and the slowest, in seconds."""
    sockets = [folder / "one.sock", folder / "two.sock"]
    with ExitStack() as stack:
        for number, path in enumerate(sockets):
            (folder / str(number)).mkdir()
            stack.enter_context(serving.running(ceiling.nothing(folder / str(number), path), folder / str(number)))
        gateway, _, _ = stack.enter_context(ceiling.standing(folder / "root"))
        names = [f"b{number}" for number in range(deployments)]
        routes = {
            f"endpoint-{number}": _endpoint(f"endpoint-{number}", names, sockets[0]) for number in range(endpoints)
        }
        first = _seconds(gateway, lambda: gateway.apply(list(routes.values())))
        took: dict[str, list[float]] = {"flip": [], "replica": []}
        for at in range(rounds):
            name = f"endpoint-{at * 7 % endpoints}"
            for what, one in (
                ("flip", _endpoint(name, names, sockets[0], gets=at % deployments)),
                ("replica", _endpoint(name, names, sockets[1], gets=at % deployments)),
            ):
                took[what].append(_seconds(gateway, lambda name=name, one=one: gateway.change({name: one})))
        size = (folder / "root" / "gateway" / "rds" / "rds.json").stat().st_size
    found = {f"{what}, {how.__name__}": how(times) for what, times in took.items() for how in (statistics.median, max)}
    return {"all at first": first, **found, "route file MiB": size / (1 << 20), "load": os.getloadavg()[0]}


def _seconds(gateway: EnvoyGateway, change: Callable[[], str]) -> float:
    begun = time.perf_counter()
    version, pause = change(), LOOK_S
    while not gateway.in_force(version):
        assert time.perf_counter() - begun < 60
        time.sleep(pause)
        pause *= LOOK_GROWS
    return time.perf_counter() - begun


def _endpoint(name: str, deployments: list[str], path: Path, gets: int = 0) -> EndpointRoute:
    routes = [DeploymentRoute(one, [Address(f"unix:{path}")], 60, 1) for one in deployments]
    return EndpointRoute(name, [ceiling.KEY, ceiling.KEY[::-1]], {deployments[gets]: 100}, {}, routes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=200)
    parser.add_argument("--deployments", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        found = measure(Path(name), asked.endpoints, asked.deployments, asked.rounds)
    if asked.json:
        print(json.dumps(found, indent=1))
        return
    for what, value in found.items():
        print(f"{what:18} {value:8.3f}")


if __name__ == "__main__":
    main()
