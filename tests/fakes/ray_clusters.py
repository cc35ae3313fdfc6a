"""A cluster whose nodes are on Ray, and nodes that dial in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakes.jobs import JOBS
from fakes.platform import WORKSPACE, Harness
from smalt.store import nodes
from smalt.store.nodes import Machine

COMPUTE = f"{WORKSPACE}/computes/cpu"
RAY = {"url": "http://ray.example:8265", "token": "let-me-in"}


def attach(harness: Harness, most: int = 2, least: int = 0, ray: Mapping[str, Any] | None = RAY, **more: Any) -> Any:
    scale = {"maxNodeCount": most, "minNodeCount": least, "nodeIdleTimeBeforeScaleDown": "PT100S"}
    machine = {"vmSize": "STANDARD_DS3_V2", "scaleSettings": scale, **({"ray": ray} if ray else {}), **more}
    return harness.put(COMPUTE, {"properties": {"computeType": "AmlCompute", "properties": machine}})


def machines(harness: Harness) -> list[Machine]:
    with harness.database.read() as connection:
        return nodes.of_compute(connection, COMPUTE.lower())


def dial_in(harness: Harness, state: str = nodes.CONNECTED) -> list[Machine]:
    """All of Ray's nodes are connected now, or silent."""
    with harness.database.write() as connection:
        for one in nodes.of_compute(connection, COMPUTE.lower()):
            nodes.note(
                connection,
                one.name,
                state=state,
                cpus=4,
                memory_bytes=8 << 30,
                address="192.0.2.1",
                seen_at=harness.clock(),
            )
    harness.loop.hint(COMPUTE.lower())
    harness.settle()
    return machines(harness)


def pass_(harness: Harness, seconds: float) -> None:
    harness.clock.now += seconds
    harness.loop.hint(COMPUTE.lower())
    harness.settle()


def task_of(harness: Harness, job: str) -> Any:
    (name,) = harness.row(f"{JOBS}/{job}").status["tasks"]
    return harness.engine.tasks[name]


def shown(harness: Harness) -> Any:
    return harness.get(COMPUTE).json()["properties"]
