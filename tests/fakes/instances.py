"""A compute instance on a platform with fakes, and its JupyterLab that begins to listen."""

from __future__ import annotations

from typing import Any

from fakes.platform import WORKSPACE, Harness
from smalt.agent.service_spec import ServiceState
from smalt.store import resources
from smalt.store.resources import Row

INSTANCE, CLUSTER = f"{WORKSPACE}/computes/desk", f"{WORKSPACE}/computes/farm"
SCHEDULES = {"computeStartStop": [{"action": "Stop", "triggerType": "Cron", "cron": {"expression": "0 18 * * *"}}]}
LISTENS = ServiceState("Running", 4321)


def put(harness: Harness, url: str = INSTANCE, type_: str = "ComputeInstance", **machine: Any) -> None:
    body = {"properties": {"computeType": type_, "properties": {"vmSize": "Standard_DS3_v2", **machine}}}
    answer = harness.put(url, {"location": "local", **body})
    assert answer.status_code in (200, 201), answer.text
    harness.settle()


def machine(harness: Harness) -> dict[str, Any]:
    return harness.get(INSTANCE).json()["properties"]["properties"]


def row(harness: Harness) -> Row:
    return stored(harness, INSTANCE)


def stored(harness: Harness, url: str) -> Row:
    with harness.database.read() as connection:
        found = resources.get(connection, url.lower())
    assert found is not None
    return found


def task(harness: Harness) -> str:
    (name,) = (name for name, one in harness.engine.states.items() if name.startswith("ci-") and not one.ended_at)
    return name


def answers(harness: Harness) -> None:
    """JupyterLab begins to listen."""
    harness.engine.start(task(harness))
    harness.engine.serve(task(harness), JupyterLab=LISTENS)
    harness.settle()


def refused(harness: Harness, **machine: Any) -> tuple[int, str]:
    properties = {"computeType": "ComputeInstance", "properties": machine}
    answer = harness.put(INSTANCE, {"location": "local", "properties": properties})
    return answer.status_code, answer.json()["error"]["target"]
