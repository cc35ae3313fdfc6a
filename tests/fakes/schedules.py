"""What tests of schedules say again and again: one below the workspace, hourly, whose job is a command."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fakes.examples import CURATED
from fakes.platform import WORKSPACE, Harness
from smalt.arm.runs import JOBS as JOB_KIND
from smalt.store import resources
from smalt.store.resources import Row

URL = f"{WORKSPACE}/schedules/nightly"
BEGUN = datetime(2027, 1, 15, 7, 59, 30, tzinfo=UTC).timestamp()  # a Friday
HOURLY = {"triggerType": "Cron", "expression": "0 * * * *"}
JOB = {"jobType": "Command", "command": "python train.py", "environmentId": CURATED}


def body(trigger: dict[str, Any] | None = None, job: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    action = {"actionType": "CreateJob", "jobDefinition": {**JOB, **(job or {})}}
    return {"properties": {"trigger": trigger or HOURLY, "action": action, **more}}


def made(harness: Harness, **more: Any) -> None:
    answer = harness.put(URL, body(**more))
    assert answer.status_code == 201, answer.text
    harness.settle()


def shown(harness: Harness) -> dict[str, Any]:
    return harness.get(URL).json()["properties"]


def job_rows(harness: Harness) -> list[Row]:
    with harness.database.read() as connection:
        rows = resources.get_many(connection, resources.keys_of_kind(connection, JOB_KIND)).values()
    return sorted(rows, key=lambda row: row.created_at)


def jobs(harness: Harness) -> list[str]:
    return [row.name for row in job_rows(harness)]


def later(harness: Harness, seconds: float) -> None:
    harness.clock.pass_(seconds)
    harness.settle()
