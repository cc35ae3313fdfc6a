"""What `smalt top` shows of the queues."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from smalt.cli.commands.top import shown

NOW = 1_800_000_000.0
SINCE = "2027-01-15T07:59:00Z"


def text(queues: list[Any]) -> str:
    console = Console(width=160, highlight=False)
    with console.capture() as capture:
        console.print(shown(queues, NOW))
    return capture.get()


def queue(**properties: Any) -> dict[str, Any]:
    return {"name": "cpu", "properties": {"maxNodeCount": 2, "nodes": [], "jobs": [], "waiting": 0, **properties}}


def test_nodes_and_those_who_wait() -> None:
    node = {
        "node": 0,
        "machine": None,
        "job": "one",
        "displayName": "one",
        "status": "Running",
        "since": SINCE,
        "gpus": [1],
    }
    waits = {
        "position": 1,
        "job": "two",
        "displayName": "[red]fine\x1b[2J",
        "status": "Queued",
        "nodes": 2,
        "priority": 3,
        "spot": True,
        "lacksGpus": False,
        "since": SINCE,
        "expectedStart": "2027-01-15T08:30:00Z",
    }
    said = text([queue(nodes=[node], jobs=[waits], waiting=3)])
    assert "1 of 2 nodes busy, 3 waiting" in said
    assert "Running" in said and "1 min" in said
    assert "~30 min" in said and "3, spot" in said and "and 2 more" in said
    assert "[red]fine" in said and "\x1b[2J" not in said, "names are no commands to the terminal"


def test_a_machine_that_is_not_connected_is_not_idle() -> None:
    node = {"node": 0, "machine": "far", "job": None, "displayName": None, "status": None, "since": SINCE, "gpus": []}
    assert "idle" in text([queue(nodes=[{**node, "connected": True}])])
    said = text([queue(nodes=[{**node, "connected": False}])])
    assert "idle" not in said and "not connected" in said


def test_nothing() -> None:
    assert "No job runs" in text([])
