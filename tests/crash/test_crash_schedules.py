"""`kill -9` of the server as schedules fire: each of their times has one job."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from live.platform import Platform, eventually

pytestmark = pytest.mark.e2e

COUNT = 8


@pytest.mark.parametrize("late_s", [0.0, 0.1])
def test_killed_as_their_time_comes_each_has_one_job(platform: Platform, late_s: float) -> None:
    names = [f"fires-{int(late_s * 1000)}-{number}" for number in range(COUNT)]
    job = {"jobType": "Command", "command": "true", "environmentId": platform.ensure_environment()}
    at = int(time.time()) + 5
    start = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    trigger = {"triggerType": "Recurrence", "frequency": "Day", "interval": 1, "startTime": start}
    properties = {"trigger": trigger, "action": {"actionType": "CreateJob", "jobDefinition": job}}
    for name in names:
        answer = platform.call("PUT", f"schedules/{name}", {"properties": properties})
        assert answer.status_code == 201, answer.text
    assert time.time() < at, "the machine is too slow: they were made after their time"
    before = platform.pid("server")
    time.sleep(max(0.0, at + late_s - time.time()))  # the moment itself is what is tested
    platform.kill("server")
    platform.restarted("server", before)
    platform.wait_until_it_answers()

    def jobs(name: str) -> list[str]:
        return [one["name"] for one in platform.get(f"jobs?scheduleId={name}")["value"]]

    for name in names:
        eventually(lambda name=name: jobs(name), f"the job of {name}", 60)
    for name in names:
        (one,) = jobs(name)
        platform.wait_for(one, "Completed", timeout_s=90)
        assert platform.get(f"schedules/{name}")["properties"]["lastRun"]["jobName"] == one
        platform.call("PUT", f"schedules/{name}", {"properties": {**properties, "isEnabled": False}})
        assert platform.call("DELETE", f"schedules/{name}").status_code == 200
