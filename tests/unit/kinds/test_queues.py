"""`GET …/queues`: nodes, places, expected starts; and the place that a job shows itself."""

from __future__ import annotations

from typing import Any

from fakes.jobs import JOBS, cluster, submit
from fakes.platform import WORKSPACE, Harness
from smalt.store import resources

QUEUES = f"{WORKSPACE}/queues"


def queue(harness: Harness, name: str = "cpu") -> dict[str, Any]:
    return harness.get(f"{QUEUES}/{name}").json()["properties"]


def test_who_runs_and_who_waits_in_order_of_priority(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    for name, priority in (("first", 2), ("low", 1), ("medium", 2), ("high", 3)):
        submit(harness, name, computeId=compute, queueSettings={"priority": priority})
        harness.settle()
    found = queue(harness)
    assert [(one["node"], one["job"], one["status"]) for one in found["nodes"]] == [(0, "first", "Starting")]
    assert [(one["position"], one["job"], one["priority"]) for one in found["jobs"]] == [
        (1, "high", 3),
        (2, "medium", 2),
        (3, "low", 1),
    ]
    assert found["waiting"] == 3
    assert [one["expectedStart"] for one in found["jobs"]] == [None, None, None], "no job has completed"


def test_expected_starts_follow_from_how_long_jobs_took(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    submit(harness, "past", computeId=compute)
    harness.settle()
    begun = harness.clock.now
    (task,) = harness.row(f"{JOBS}/past").status["tasks"]
    harness.engine.finish(task, 0)
    harness.settle()
    with harness.database.write() as connection:
        resources.merge_status(connection, f"{JOBS}/past".lower(), {"started_at": begun, "ended_at": begun + 60.0})
    for name in ("running", "next", "later"):
        submit(harness, name, computeId=compute)
        harness.settle()
    found = queue(harness)
    assert found["typicalSeconds"] == 60.0
    starts = [one["expectedStart"] for one in found["jobs"]]
    assert starts[0] is not None and starts[0] < starts[1]


def test_a_job_that_waits_shows_its_place_and_loses_it(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    for name in ("first", "second", "third"):
        submit(harness, name, computeId=compute, properties={"mine": "1"})
        harness.settle()
    shown = harness.get(f"{JOBS}/third").json()["properties"]
    assert shown["properties"] == {"mine": "1", "smalt.queue_position": "2"}
    again = submit(harness, "copied", computeId=compute, properties=shown["properties"])
    assert again.json()["properties"]["properties"] == {"mine": "1"}, "it is not kept"
    harness.send("POST", f"{JOBS}/third/cancel")
    harness.settle()
    assert harness.get(f"{JOBS}/third").json()["properties"]["properties"] == {"mine": "1"}


def test_only_computes_with_nodes_or_a_queue_are_listed_and_others_are_empty(harness: Harness) -> None:
    cluster(harness, "idle", most=3)
    assert harness.get(QUEUES).json() == {"value": []}
    assert queue(harness, "idle") == {
        "maxNodeCount": 3,
        "typicalSeconds": None,
        "nodes": [],
        "waiting": 0,
        "jobs": [],
    }
    assert harness.get(f"{QUEUES}/none").status_code == 404
    submit(harness)
    harness.settle()
    (found,) = harness.get(QUEUES).json()["value"]
    assert (found["name"], found["id"]) == ("serverless", f"{QUEUES}/serverless")
    assert harness.put(f"{QUEUES}/idle", {}).status_code == 405
