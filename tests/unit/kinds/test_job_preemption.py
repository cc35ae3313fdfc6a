"""Who waits is served by rank; nodes and GPUs of preemptible jobs are taken back for others, and their jobs run again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fakes.jobs import JOBS, counts, status, submit
from fakes.platform import WORKSPACE, Harness
from smalt.kinds.jobs import attempt, command, launch, outputs
from smalt.kinds.jobs.attempt import Work
from smalt.kinds.jobs.model import TYPES


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


def queue(priority: int | None = None, tier: str | None = None) -> dict[str, Any]:
    return {key: value for key, value in (("priority", priority), ("jobTier", tier)) if value is not None}


def cluster(harness: Harness, name: str, most: int = 1, size: str = "STANDARD_DS3_V2", low: bool = False) -> str:
    scale = {"maxNodeCount": most, "minNodeCount": 0}
    machine = {"vmSize": size, "scaleSettings": scale, "vmPriority": "LowPriority" if low else "Dedicated"}
    body = {"properties": {"computeType": "AmlCompute", "properties": machine}}
    assert harness.put(f"{WORKSPACE}/computes/{name}", body).status_code == 201
    return f"{WORKSPACE}/computes/{name}"


def task(harness: Harness, job: str, rank: int = 0) -> str:
    return harness.row(f"{JOBS}/{job}").status["tasks"][rank]


def start(harness: Harness, *jobs: str) -> None:
    harness.settle()
    for job in jobs:
        for name in harness.row(f"{JOBS}/{job}").status["tasks"]:
            harness.engine.start(name)
    harness.settle()


def finish(harness: Harness, job: str, exit_code: int = 0) -> None:
    for name in harness.row(f"{JOBS}/{job}").status["tasks"]:
        harness.engine.finish(name, exit_code)
    harness.settle()


def fill(harness: Harness, tier: str = "Spot") -> list[str]:
    """Jobs on all nodes that the machine has, the oldest first."""
    most = 2 * harness.engine.capacity().cpus
    names = [f"spot-{number}" for number in range(most)]
    for name in names:
        assert submit(harness, name, queueSettings=queue(tier=tier)).status_code == 201
    start(harness, *names)
    return names


def test_a_preempted_job_ends_completed_at_attempt_2(harness: Harness) -> None:
    *_, youngest = fill(harness)
    submit(harness, "urgent")
    harness.settle()
    assert harness.row(f"{JOBS}/urgent").status["tasks"] and status(harness, youngest) == "Queued"
    finish(harness, "urgent")
    start(harness, youngest)
    finish(harness, youngest)
    row = harness.row(f"{JOBS}/{youngest}")
    assert (row.state, row.status["attempt"]) == ("Completed", 2) and "retries" not in row.status
    events = [one["reason"] for one in harness.get(f"{JOBS}/{youngest}/events").json()["value"]]
    assert any("Preempted" in reason for reason in events)


def test_it_gives_its_nodes_back_only_when_its_tasks_have_ended(harness: Harness) -> None:
    harness.engine._obeys = False  # a script that traps SIGTERM writes its checkpoint first
    *_, youngest = fill(harness)
    submit(harness, "urgent")
    harness.settle()
    old = task(harness, youngest)
    assert list(harness.engine.stopping) == [old] and status(harness, "urgent") == "Queued"
    harness.settle()
    assert list(harness.engine.stopping) == [old], "nobody else is asked meanwhile"
    harness.engine.stopped(old)
    harness.settle()
    assert status(harness, "urgent") == "Starting" and status(harness, youngest) == "Queued"


def test_a_task_that_ends_by_itself_meanwhile_counts(harness: Harness) -> None:
    harness.engine._obeys = False
    *_, youngest = fill(harness)
    submit(harness, "urgent")
    harness.settle()
    harness.engine.finish(task(harness, youngest), 0)
    harness.settle()
    assert status(harness, youngest) == "Completed" and status(harness, "urgent") == "Starting"


def test_a_preempted_job_can_be_canceled(harness: Harness) -> None:
    harness.engine._obeys = False
    *_, youngest = fill(harness)
    submit(harness, "urgent")
    harness.settle()
    harness.send("POST", f"{JOBS}/{youngest}/cancel")
    harness.engine.stopped(task(harness, youngest))
    harness.settle()
    assert status(harness, youngest) == "Canceled"


def test_one_that_is_not_preemptible_keeps_its_nodes(harness: Harness) -> None:
    fill(harness, tier="Standard")
    submit(harness, "urgent", queueSettings=queue(priority=3))
    harness.settle()
    assert status(harness, "urgent") == "Queued" and not harness.engine.stopping


def test_a_spot_job_takes_nothing_back(harness: Harness) -> None:
    fill(harness)
    submit(harness, "another", queueSettings=queue(3, "Spot"))
    harness.settle()
    assert status(harness, "another") == "Queued" and not harness.engine.stopping


def test_nobody_loses_nodes_where_that_would_not_be_enough(harness: Harness) -> None:
    for number in range(7):
        submit(harness, f"kept-{number}")
    submit(harness, "spot", queueSettings=queue(tier="Spot"))
    start(harness, *(f"kept-{number}" for number in range(7)), "spot")
    submit(harness, "wide", resources={"instanceCount": 2})
    harness.settle()
    assert status(harness, "spot") == "Running" and not harness.engine.stopping


def test_the_higher_priority_is_served_first(harness: Harness) -> None:
    compute = cluster(harness, "cpu")
    submit(harness, "first", computeId=compute)
    for name, priority in (("low", 1), ("medium", None), ("high", 3), ("high-2", 3)):
        assert submit(harness, name, computeId=compute, queueSettings=queue(priority)).status_code == 201
    served: list[str] = []
    current = "first"
    for _ in range(4):
        start(harness, current)
        finish(harness, current)
        (current,) = [one for one in ("low", "medium", "high", "high-2") if status(harness, one) == "Starting"]
        served.append(current)
    assert served == ["high", "high-2", "medium", "low"]


def test_each_node_sees_its_own_gpus(harness: Harness) -> None:
    harness.engine.fit(gpus=4)
    two = cluster(harness, "two", most=2, size="Standard_NC12")
    submit(harness, "train", computeId=two, resources={"instanceCount": 2})
    harness.settle()
    assert [harness.engine.tasks[task(harness, "train", rank)].gpus for rank in (0, 1)] == [[0, 1], [2, 3]]
    submit(harness, "plain", computeId=cluster(harness, "cpu"))
    submit(harness, "anywhere")
    harness.settle()
    assert harness.engine.tasks[task(harness, "plain")].gpus == []
    assert harness.engine.tasks[task(harness, "anywhere")].gpus is None


def test_more_gpus_than_the_machine_has_are_refused_and_not_waited_for(harness: Harness) -> None:
    harness.engine.fit(gpus=3)
    answer = submit(
        harness, "wide", computeId=cluster(harness, "two", most=2, size="Standard_NC12"), resources={"instanceCount": 2}
    )
    assert answer.status_code == 400 and "this machine has 3" in answer.json()["error"]["message"]


def test_gpus_are_the_machines_and_their_queue_is_one_for_all_computes(harness: Harness) -> None:
    harness.engine.fit(gpus=2)
    computes = {name: cluster(harness, name, most=2, size="Standard_NC6") for name in ("aa", "bb", "cc")}
    submit(harness, "a-1", computeId=computes["aa"])
    submit(harness, "b-1", computeId=computes["bb"])
    start(harness, "a-1", "b-1")
    submit(harness, "c-2", computeId=computes["cc"], resources={"instanceCount": 2})
    harness.settle()
    submit(harness, "a-2", computeId=computes["aa"])
    harness.settle()
    finish(harness, "b-1")
    assert [status(harness, name) for name in ("c-2", "a-2")] == ["Queued", "Queued"], "a small one does not slip past"
    finish(harness, "a-1")
    assert [status(harness, name) for name in ("c-2", "a-2")] == ["Starting", "Queued"]
    finish(harness, "c-2")
    assert status(harness, "a-2") == "Starting"


def test_who_waits_for_gpus_and_leaves_lets_the_next_in(harness: Harness) -> None:
    harness.engine.fit(gpus=1)
    computes = [cluster(harness, name, size="Standard_NC6") for name in ("aa", "bb", "cc")]
    for number, compute in enumerate(computes):
        submit(harness, f"job-{number}", computeId=compute)
        harness.settle()
    harness.send("POST", f"{JOBS}/job-1/cancel")
    harness.settle()
    finish(harness, "job-0")
    assert (status(harness, "job-1"), status(harness, "job-2")) == ("Canceled", "Starting")


def test_a_dedicated_job_takes_the_gpu_of_one_on_a_low_priority_cluster(harness: Harness) -> None:
    harness.engine.fit(gpus=1)
    low, dedicated = (
        cluster(harness, "low", size="Standard_NC6", low=True),
        cluster(harness, "own", size="Standard_NC6"),
    )
    submit(harness, "background", computeId=low)
    start(harness, "background")
    submit(harness, "urgent", computeId=dedicated)
    harness.settle()
    assert status(harness, "urgent") == "Starting" and status(harness, "background") == "Queued"
    assert counts(harness, "low") == (0, 1)
    finish(harness, "urgent")
    start(harness, "background")
    finish(harness, "background")
    row = harness.row(f"{JOBS}/background")
    assert (row.state, row.status["attempt"]) == ("Completed", 2)


def test_an_attempt_that_failed_is_followed_by_another_where_its_type_says_so(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = Work(launch.tasks, outputs.register, retries=lambda row: 2)
    monkeypatch.setitem(TYPES, "Command", replace(command.TYPE, step=partial(attempt.step, twice)))
    for job, codes, ends in (("once", (3, 0), ("Completed", 2)), ("never", (3, 3, 3), ("Failed", 3))):
        submit(harness, job)
        for code in codes:
            start(harness, job)
            finish(harness, job, code)
        row = harness.row(f"{JOBS}/{job}")
        assert (row.state, row.status["attempt"]) == ends
    with harness.database.read() as connection:
        assert not connection.exec_driver_sql("SELECT * FROM allocation WHERE owner IS NOT NULL").all()


@pytest.mark.parametrize(
    ("given", "field"),
    [(queue(tier="Sport"), "jobTier"), (queue(priority=7), "priority"), (queue(priority=0), "priority")],
)
def test_wrong_queue_settings_are_refused(harness: Harness, given: dict[str, Any], field: str) -> None:
    answer = submit(harness, "wrong", queueSettings=given)
    assert answer.status_code == 400 and answer.json()["error"]["target"] == f"properties.queueSettings.{field}"


def test_who_waits_for_nodes_again_holds_up_nobody_who_waits_for_gpus(harness: Harness) -> None:
    """`behind` waited for GPUs alone; then one of a higher priority came before it in its own cluster."""
    harness.engine.fit(gpus=2)
    full = cluster(harness, "full", most=2, size="Standard_NC6")
    one, other = (cluster(harness, name, size="Standard_NC6") for name in ("one", "other"))
    submit(harness, "runs", computeId=full)
    submit(harness, "ends", computeId=one)
    start(harness, "runs", "ends")
    submit(harness, "behind", computeId=full)
    harness.settle()
    submit(harness, "wide", computeId=full, resources={"instanceCount": 2}, queueSettings=queue(priority=3))
    submit(harness, "next", computeId=other)
    harness.settle()
    finish(harness, "ends")
    assert [status(harness, name) for name in ("behind", "wide", "next")] == ["Queued", "Queued", "Starting"]


def test_an_operator_takes_nodes_back_from_jobs_of_low_priority_alone(harness: Harness) -> None:
    low, dear = cluster(harness, "low", most=2, low=True), cluster(harness, "dear")
    for name, compute in (("old", low), ("young", low), ("kept", dear)):
        submit(harness, name, computeId=compute)
        start(harness, name)
        harness.clock.pass_(1.0)
    answer = harness.send("POST", f"{low}/preempt", {"nodeCount": 1})
    assert (answer.status_code, answer.json()) == (200, {"preempted": ["young"]})
    harness.settle()
    assert [harness.row(f"{JOBS}/{name}").status["attempt"] for name in ("old", "young", "kept")] == [1, 2, 1]
    for compute, count in ((dear, 1), (low, 5), (low, 0), (low, "x")):
        answer = harness.send("POST", f"{compute}/preempt", {"nodeCount": count})
        assert answer.status_code == (400 if count in (0, "x") else 409), answer.text
        assert answer.json()["error"]["target"] == "nodeCount"


def test_the_priority_of_a_job_that_waits_is_changed_by_a_put(harness: Harness) -> None:
    compute = cluster(harness, "cpu")
    for name in ("busy", "first", "second"):
        submit(harness, name, computeId=compute)
        harness.settle()
    answer = submit(harness, "second", computeId=compute, queueSettings=queue(3))
    assert answer.status_code == 200, answer.text
    assert answer.json()["properties"]["queueSettings"]["priority"] == 3
    harness.settle()
    start(harness, "busy")
    finish(harness, "busy")
    assert (status(harness, "second"), status(harness, "first")) == ("Starting", "Queued")
    refused = submit(harness, "second", computeId=compute, queueSettings=queue(1))
    assert (refused.status_code, refused.json()["error"]["target"]) == (409, "properties.queueSettings.priority")
    other = submit(harness, "first", computeId=compute, queueSettings=queue(1, "Spot"))
    assert (other.status_code, other.json()["error"]["target"]) == (409, "properties.queueSettings")
    wrong = submit(harness, "first", computeId=compute, queueSettings=queue(9))
    assert (wrong.status_code, wrong.json()["error"]["target"]) == (400, "properties.queueSettings.priority")
