"""Builds of environments: once for each content, and not again by themselves."""

from __future__ import annotations

import pytest

from fakes.jobs import JOBS, status, submit
from fakes.platform import WORKSPACE, Harness
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


def test_the_log_of_the_build_is_among_those_of_each_job_that_waits(harness: Harness, building: str) -> None:
    submit(harness, "train-2")
    harness.settle()
    (task,) = harness.engine.tasks.values()
    assert task.name == building
    log = harness.environments.log(harness.row(task.owner).name)
    with harness.blobs.path(*log).open("a") as file:
        file.write("Choosing versions\n")
    account = harness.row(WORKSPACE).status["account"]
    for job in ("train-1", "train-2"):
        shown = f"ExperimentRun/dcid.{job}/azureml-logs/20_image_build_log.txt"
        assert harness.blobs.read(account, "azureml", shown, 100) == b"Choosing versions\n"


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


DAY_S = 86_400.0


@pytest.fixture
def built(harness: Harness) -> str:
    """A build that is done, and the job that asked for it too; the build's id."""
    harness.environments.build_at_once = False
    submit(harness)
    harness.settle()
    (name,) = harness.engine.starts
    with harness.database.read() as connection:
        (key,) = resources.keys_of_kind(connection, "environmentbuilds")
    harness.environments.ready.add(harness.row(key).name)
    harness.engine.finish(name, 0)
    harness.settle()
    assert harness.row(key).state == "Succeeded" and status(harness) == "Starting"
    return key


def end(harness: Harness, job: str = "train-1") -> None:
    (task,) = harness.row(f"{JOBS}/{job}").status["tasks"]
    harness.engine.finish(task, 0)
    harness.settle()


def days(harness: Harness, number: int) -> None:
    for _ in range(number):
        harness.clock.pass_(DAY_S + 1)
        harness.settle()


def is_there(harness: Harness, key: str) -> bool:
    with harness.database.read() as connection:
        row = resources.get(connection, key)
    assert (row is not None) == bool(harness.environments.ready)
    return row is not None


def test_what_nobody_uses_goes_after_a_month(harness: Harness, built: str) -> None:
    days(harness, 40)
    assert is_there(harness, built), "a job has it"
    end(harness)
    days(harness, 29)
    assert is_there(harness, built)
    days(harness, 3)
    assert not is_there(harness, built)


def test_who_uses_it_again_keeps_it(harness: Harness, built: str) -> None:
    end(harness)
    days(harness, 25)
    submit(harness, "train-2")
    harness.settle()
    end(harness, "train-2")
    days(harness, 25)
    assert is_there(harness, built)
    days(harness, 7)
    assert not is_there(harness, built)
    submit(harness, "train-3")
    harness.settle()
    assert status(harness, "train-3") == "Preparing", "it is built again"


def test_who_comes_just_before_it_goes_keeps_it(harness: Harness, built: str) -> None:
    """A job is taken; then the row says that the environment goes, and both are looked at."""
    end(harness)
    submit(harness, "train-2")
    with harness.database.write() as connection:
        row = resources.get(connection, built)
        assert row is not None
        resources.describe(connection, row, row.spec, archived=False, now=1.0, by="test", state="Removing")
        resources.poke(connection, [built], harness.clock())
    harness.settle()
    assert is_there(harness, built) and status(harness, "train-2") == "Starting"


def test_a_build_is_asked_for_without_a_job(harness: Harness) -> None:
    harness.environments.build_at_once = False
    version = f"{WORKSPACE}/environments/own/versions/1"
    assert harness.put(version, {"properties": {"image": "python:3.11"}}).status_code == 201
    for _ in range(2):
        assert harness.send("POST", f"{version}/build", {}).status_code == 202
    harness.settle()
    (name,) = harness.engine.starts
    assert harness.get(f"{version}/builds").json()["jobs"]["state"] == "Creating"
    harness.engine.start(name)
    harness.engine.finish(name, 1)
    harness.settle()
    assert harness.get(f"{version}/builds").json()["jobs"]["state"] == "Failed"
    assert harness.send("POST", f"{version}/build", {"use": "jobs"}).status_code == 202
    harness.settle()
    assert len(harness.engine.starts) == 2, "again, as it failed"
    refused = harness.send("POST", f"{version}/build", {"use": "other"})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "use")
