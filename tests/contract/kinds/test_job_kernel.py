"""Children, priorities and preemption of jobs on both databases, with several workers of the control loop at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, status, submit
from fakes.parents import FAN
from fakes.platform import Harness
from smalt.arm.ports import Capacity
from smalt.kinds.jobs.model import TYPES
from smalt.store import children

CHILD = {"jobType": "Command", "command": "true", "environmentId": CURATED}
COUNT, WORKERS = 60, 4


@pytest.fixture
def harness(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setitem(TYPES, FAN.name, FAN)
    made = Harness(tmp_path, database_url=database_url)
    yield made
    made.close()


def turn(harness: Harness) -> int:
    """What is due is stepped by several loops at once, and what runs then ends; how much ended."""
    loops = [harness.new_loop() for _ in range(WORKERS)]
    threads = [threading.Thread(target=loop.run_due) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    harness.settle()
    running = [name for name, state in harness.engine.states.items() if state.outcome is None]
    for name in running:
        harness.engine.finish(name, 0)
    harness.clock.pass_(1.0)
    return len(running)


def test_no_child_is_lost_or_submitted_twice(harness: Harness) -> None:
    answer = harness.put(
        f"{JOBS}/fan", {"properties": {"jobType": "Fan", "count": COUNT, "window": 16, "child": CHILD}}
    )
    assert answer.status_code == 201
    for _ in range(COUNT):
        if not turn(harness) and status(harness, "fan") == "Completed":
            break
        harness.clock.pass_(31.0)  # the leases of steps that met others run out
    assert status(harness, "fan") == "Completed"
    assert len(harness.engine.starts) == len(set(harness.engine.starts)) == COUNT
    with harness.database.read() as connection:
        assert children.counts(connection, harness.row(f"{JOBS}/fan").id) == {"Completed": COUNT}
        assert not connection.exec_driver_sql("SELECT * FROM allocation WHERE owner IS NOT NULL").all()
        assert not connection.exec_driver_sql("SELECT * FROM queue").all()


def test_a_preempted_attempt_ends_completed_at_attempt_2(harness: Harness) -> None:
    harness.engine.fit(cpus=2)
    assert harness.engine.capacity() == Capacity(2, 16 << 30)
    for number in range(4):
        submit(harness, f"spot-{number}", queueSettings={"jobTier": "Spot"})
    harness.settle()
    submit(harness, "urgent")
    harness.settle()
    assert status(harness, "urgent") == "Starting" and status(harness, "spot-3") == "Queued"
    while turn(harness):
        harness.clock.pass_(31.0)
    harness.settle()
    row = harness.row(f"{JOBS}/spot-3")
    assert (row.state, row.status["attempt"]) == ("Completed", 2)
