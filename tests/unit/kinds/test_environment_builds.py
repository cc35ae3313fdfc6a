"""Builds of environments: once for each content, and not again by themselves."""

from __future__ import annotations

import pytest

from fakes.jobs import JOBS, status, submit
from fakes.platform import Harness
from smalt.store import resources


@pytest.fixture
def building(harness: Harness) -> str:
    """A job waits for a build that runs; the build's task."""
    harness.environments.build_at_once = False
    submit(harness)
    harness.settle()
    assert status(harness) == "Preparing"
    (name,) = harness.engine.starts
    harness.engine.start(name)
    return name


def test_late_news_of_a_failed_build_starts_nothing(harness: Harness, building: str) -> None:
    harness.engine.finish(building, 1)
    harness.settle()
    assert status(harness) == "Failed"
    for _ in range(5):  # its agent's death, a restart of the server, a resync
        with harness.database.write() as connection:
            for key in resources.keys_of_kind(connection, "environmentbuilds"):
                resources.poke(connection, [key], harness.clock())
        harness.loop.resume()
        harness.settle()
    assert harness.engine.starts == [building]
    with harness.database.read() as connection:
        (key,) = resources.keys_of_kind(connection, "environmentbuilds")
    assert harness.row(key).state == "Failed" and harness.row(key).due_at is None


def test_who_asks_again_builds_again_once(harness: Harness, building: str) -> None:
    harness.engine.finish(building, 1)
    harness.settle()
    submit(harness, "train-2")
    harness.settle()
    assert len(harness.engine.starts) == 2 and status(harness, "train-2") == "Preparing"
    harness.engine.finish(harness.engine.starts[1], 1)
    harness.settle()
    assert status(harness, "train-2") == "Failed" and len(harness.engine.starts) == 2
    assert harness.row(f"{JOBS}/train-2").status["error"]["message"]
