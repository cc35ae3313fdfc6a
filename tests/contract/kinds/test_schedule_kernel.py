"""Schedules on both databases, with two servers that see each time come at once, and die in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fakes.examples import EXAMPLES
from fakes.jobs import JOBS
from fakes.platform import WORKSPACE, Harness
from smalt.arm.runs import JOBS as JOB_KIND
from smalt.reconcile.loop import Loop
from smalt.store import resources
from smalt.store.database import Database

MINUTES, SCHEDULES = 6, 5
TRIGGER = {"triggerType": "Cron", "expression": "* * * * *"}


@contextmanager
def servers(harness: Harness) -> Iterator[list[Loop]]:
    """Two control loops, each with connections of its own."""
    databases = [Database(harness.settings.database) for _ in range(2)]
    try:
        yield [
            Loop(replace(harness.platform, database=one), harness.kinds, harness.crud.remove_stored)
            for one in databases
        ]
    finally:
        for one in databases:
            one.close()


def at_once(loops: list[Loop]) -> None:
    threads = [threading.Thread(target=loop.run_due) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def make(harness: Harness, name: str) -> None:
    body = EXAMPLES["workspaces/schedules"].body(trigger=TRIGGER)
    assert harness.put(f"{WORKSPACE}/schedules/{name}", body).status_code == 201


def jobs(harness: Harness) -> list[str]:
    with harness.database.read() as connection:
        return resources.keys_of_kind(connection, JOB_KIND)


def test_two_servers_submit_one_job_for_each_time(harness: Harness) -> None:
    harness.clock.now -= harness.clock.now % 60 - 1.0  # a second after a minute
    for number in range(SCHEDULES):
        make(harness, f"s{number}")
    harness.settle()
    known = len(jobs(harness))
    with servers(harness) as loops:
        for _ in range(MINUTES):
            harness.clock.pass_(60)
            at_once(loops)
    harness.clock.pass_(31)  # leases of steps that met others run out
    harness.settle()
    assert len(jobs(harness)) - known == MINUTES * SCHEDULES
    listed = harness.get(f"{JOBS}?scheduleId=s0&count=100").json()["value"]
    assert len({one["properties"]["properties"]["azureml.scheduleTime"] for one in listed}) == len(listed) == MINUTES


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", ["apply", "insert_all", "before the commit", "after the commit"])
def test_killed_at_any_line_each_time_has_one_job(harness: Harness, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    harness.clock.now -= harness.clock.now % 60 - 1.0
    make(harness, "s")
    harness.settle()
    known = len(jobs(harness))
    harness.clock.pass_(60)
    with servers(harness) as (dying, other), monkeypatch.context() as patch:
        _kill(patch, dying, at)
        with pytest.raises(Killed):
            dying.run_due()
        patch.undo()
        harness.clock.pass_(31)  # its lease is over; the minute after is not there yet
        harness.clock.now = min(harness.clock.now, harness.clock.now // 60 * 60 + 59)
        other.run_due()
        harness.settle()
    assert len(jobs(harness)) - known == 1


def _kill(patch: pytest.MonkeyPatch, loop: Loop, at: str) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    if at == "apply":
        patch.setattr("smalt.reconcile.loop.claims.apply", dies)
    elif at == "insert_all":
        patch.setattr("smalt.kinds.jobs.schedules.submission.resources.insert_all", dies)
    elif at == "before the commit":
        insert = resources.insert_all

        def inserts_and_dies(*given: Any, **named: Any) -> None:
            insert(*given, **named)
            raise Killed

        patch.setattr("smalt.kinds.jobs.schedules.submission.resources.insert_all", inserts_and_dies)
    else:
        patch.setattr(loop.heartbeat, "drop", dies)
