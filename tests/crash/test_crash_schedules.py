"""`kill -9` of the server as schedules fire: each of their times has one job."""

from __future__ import annotations

import time

import pytest

from live.platform import Platform, eventually
from live.schedules import made_ahead

pytestmark = pytest.mark.e2e

COUNT = 8


@pytest.mark.parametrize("late_s", [0.0, 0.1])
def test_killed_as_their_time_comes_each_has_one_job(platform: Platform, late_s: float) -> None:
    job = {"jobType": "Command", "command": "true", "environmentId": platform.ensure_environment()}
    names, at = made_ahead("fires", job, COUNT, [platform])
    before = platform.pid("server")
    time.sleep(max(0.0, at + late_s - time.time()))  # the moment itself is what is tested
    platform.kill("server")
    platform.restarted("server", before)
    platform.wait_until_it_answers()

    def jobs(name: str) -> list[str]:
        return [one["name"] for one in platform.get(f"jobs?scheduleId={name}")["value"]]

    for name in names:
        eventually(lambda name=name: jobs(name), f"the job of {name}")
    for name in names:
        (one,) = jobs(name)
        platform.wait_for(one, "Completed")
        assert platform.get(f"schedules/{name}")["properties"]["lastRun"]["jobName"] == one
        made = platform.get(f"schedules/{name}")["properties"]
        platform.call("PUT", f"schedules/{name}", {"properties": {**made, "isEnabled": False}})
        assert platform.call("DELETE", f"schedules/{name}").status_code == 200
