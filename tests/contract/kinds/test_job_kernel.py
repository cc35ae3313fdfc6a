"""Children, priorities and preemption of jobs on both databases, with several workers of the control loop at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from fakes.examples import CURATED
from fakes.jobs import JOBS, status, submit
from fakes.parents import FAN
from fakes.platform import Harness
from smalt.arm.platform import Platform
from smalt.arm.ports import Capacity
from smalt.kinds.jobs import children as children_of_jobs
from smalt.kinds.jobs import life
from smalt.kinds.jobs.children import Child, Counts, Plan
from smalt.kinds.jobs.model import TYPES
from smalt.kinds.jobs.status import JobStatus
from smalt.store import children
from smalt.store.row import Row

CHILD = {"jobType": "Command", "command": "true", "environmentId": CURATED}
COUNT, WORKERS = 60, 4


@pytest.fixture
def harness(tmp_path: Path, framed_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setitem(TYPES, FAN.name, FAN)
    made = Harness(tmp_path, database_url=framed_url)
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


def _ends_two(platform: Platform, row: Row, known: JobStatus, counts: Counts) -> Plan:
    """It submits three, and ends two of them at once."""
    if not known.decided:
        return Plan([Child(f"fan-{n}", row.properties["child"]) for n in range(3)], more=True, decided={"n": 3})
    return Plan(decided=known.decided, end="Completed", cancel=("fan-0", "fan-1") if counts.open == 3 else ())


@pytest.mark.parametrize("by", ["cancel", "plan"])
def test_children_are_asked_to_cancel_one_by_one_and_the_parent_is_free(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A child's step holds its own row and waits for the parent's: the other way round would be a circle."""
    if by == "plan":
        monkeypatch.setitem(TYPES, FAN.name, replace(FAN, step=partial(children_of_jobs.step, _ends_two)))
    asked: list[tuple[str, int]] = []
    ask = life.ask_to_cancel

    def watched(connection: Connection, row: Row, by: str, now: float) -> None:
        transaction = connection.get_transaction()
        asked.append((row.name, id(transaction)))
        kept.append(transaction)
        if not harness.database.sqlite:
            with harness.database.write() as other:
                lock = "SELECT 1 FROM resource WHERE id = :key FOR NO KEY UPDATE NOWAIT"
                assert other.execute(text(lock), {"key": row.parent}).one()
        ask(connection, row, by, now)

    kept: list[object] = []
    monkeypatch.setattr(life, "ask_to_cancel", watched)
    body = {"jobType": "Fan", "count": 3, "child": CHILD}
    assert harness.put(f"{JOBS}/fan", {"properties": body}).status_code == 201
    harness.settle()
    if by == "cancel":
        monkeypatch.setattr(life, "ask_to_cancel", ask)
        assert harness.send("POST", f"{JOBS}/fan/cancel").status_code == 202
        monkeypatch.setattr(life, "ask_to_cancel", watched)
    for _ in range(4):
        turn(harness)
    expected = {"cancel": ["fan-0", "fan-1", "fan-2"], "plan": ["fan-0", "fan-1"]}[by]
    assert [name for name, _ in asked] == expected and len({one for _, one in asked}) == len(asked)
    assert status(harness, "fan") == {"cancel": "Canceled", "plan": "Completed"}[by]
    assert [status(harness, name) for name in expected] == ["Canceled"] * len(expected)


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
