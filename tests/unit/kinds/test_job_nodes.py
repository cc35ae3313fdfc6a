"""Which jobs run and which wait: nodes of a cluster, in order, all at once, from zero and back."""

from __future__ import annotations

from fakes.jobs import JOBS, cluster, counts, status, submit
from fakes.platform import WORKSPACE, Harness


def test_jobs_queue_in_order_of_submission(harness: Harness) -> None:
    compute = cluster(harness, most=1)
    for name in ("first", "second", "third"):
        submit(harness, name, computeId=compute)
    harness.settle()
    assert [status(harness, name) for name in ("first", "second", "third")] == ["Starting", "Queued", "Queued"]
    for running, after in (
        ("first", ["Completed", "Starting", "Queued"]),
        ("second", ["Completed", "Completed", "Starting"]),
    ):
        (name,) = harness.row(f"{JOBS}/{running}").status["tasks"]
        harness.engine.finish(name, 0)
        harness.settle()
        assert [status(harness, name) for name in ("first", "second", "third")] == after


def test_a_gang_gets_all_its_nodes_or_waits(harness: Harness) -> None:
    compute = cluster(harness, most=3)
    submit(harness, "pair", computeId=compute, resources={"instanceCount": 2})
    submit(harness, "pair-2", computeId=compute, resources={"instanceCount": 2})
    submit(harness, "single", computeId=compute)
    harness.settle()
    assert [status(harness, name) for name in ("pair", "pair-2", "single")] == ["Starting", "Queued", "Queued"]
    assert counts(harness) == (2, 0)
    ranks = [task.variables["NODE_RANK"] for task in harness.engine.tasks.values()]
    assert ranks == ["0", "1"]


def test_nodes_scale_from_zero_and_back(harness: Harness) -> None:
    compute = cluster(harness, most=2)
    assert counts(harness) == (0, 0)
    submit(harness, computeId=compute)
    harness.settle()
    assert counts(harness) == (1, 0)
    harness.engine.finish(next(iter(harness.engine.tasks)), 0)
    harness.settle()
    assert counts(harness) == (0, 1)
    harness.clock.pass_(99)
    harness.settle()
    assert counts(harness) == (0, 1)
    harness.clock.pass_(2)
    harness.settle()
    assert counts(harness) == (0, 0)


def test_a_raised_maximum_lets_those_that_wait_run(harness: Harness) -> None:
    one = cluster(harness, most=1)
    for number in range(3):
        submit(harness, f"job-{number}", computeId=one)
    harness.settle()
    assert [status(harness, f"job-{number}") for number in range(3)] == ["Starting", "Queued", "Queued"]
    scale = {"maxNodeCount": 3, "minNodeCount": 0}
    properties = {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": scale}}
    assert harness.put(one, {"properties": properties}).status_code == 201
    harness.settle()
    assert [status(harness, f"job-{number}") for number in range(3)] == ["Starting"] * 3


def test_a_job_whose_cluster_was_deleted_while_it_was_prepared_says_so(harness: Harness) -> None:
    harness.environments.build_at_once = False
    one = cluster(harness)
    submit(harness, computeId=one)
    harness.settle()
    assert status(harness) == "Preparing"
    assert harness.send("DELETE", one).status_code == 202
    harness.settle()
    (build,) = [name for name in harness.engine.tasks if name.startswith("build-")]
    harness.environments.ready.add(harness.row(f"{JOBS}/train-1").spec["smalt"]["plan"]["key"])
    harness.engine.finish(build, 0)
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert (row.state, row.status["error"]["code"]) == ("Failed", "ComputeNotFound")
    assert "tasks" not in row.status


def test_an_unknown_compute_is_refused_with_the_nearest_name(harness: Harness) -> None:
    cluster(harness, "cpu-cluster")
    refused = submit(harness, computeId=f"{WORKSPACE}/computes/cpu-clutser")
    assert refused.status_code == 400 and "Did you mean 'cpu-cluster'" in refused.json()["error"]["message"]
